#include <fmt/format.h>

#include "core/error.h"
#include "core/torch_archive.h"
#include "core/unpickler.h"
#include "core/weight_file.h"
#include "core/zip_file.h"

namespace segrt {
namespace {
constexpr std::string_view kPickle = "/data.pkl";

// "<folder>/data.pkl" with one slash, of which there must be one.
const ZipRecord& pickle_of(const std::string& path, const ZipFile& zip) {
  const ZipRecord* found = nullptr;
  for (const ZipRecord& record : zip.records()) {
    if (!record.name.ends_with(kPickle) || record.name.find('/') != record.name.size() - kPickle.size()) continue;
    if (found != nullptr)
      throw FileError(fmt::format("{}: holds {} and {}: one object was expected", path, shown_text(found->name),
                                  shown_text(record.name)));
    found = &record;
  }
  if (found == nullptr) throw FileError(path + ": a zip archive, but not PyTorch's: it has no <folder>/data.pkl");
  return *found;
}
}  // namespace

TorchContents read_torch_zip(const std::string& path, std::span<const std::byte> file) {
  const ZipFile zip(path, file);
  const ZipRecord& pickle = pickle_of(path, zip);
  const std::string folder(pickle.name.substr(0, pickle.name.size() - kPickle.size()));
  if (const ZipRecord* order = zip.find(folder + "/byteorder")) {
    const std::string_view text(reinterpret_cast<const char*>(order->data.data()), order->data.size());
    if (text != "little")
      throw FileError(
          fmt::format("{}: its byte order is {}; only little-endian files can be read", path, shown_text(text)));
  }
  TorchContents contents{PickleObjects(pickle.data), {}, pickle.data.size()};
  size_t position = 0;
  contents.top = Unpickler(pickle.data, path + ": data.pkl", contents.objects).load(position);
  if (position != pickle.data.size())
    throw FileError(fmt::format("{}: data.pkl: {} bytes follow its end", path, pickle.data.size() - position));
  for (PickleObjects::Root& root : contents.objects.roots) {
    const ZipRecord* record = zip.find(folder + "/data/" + std::string(root.key));
    if (record == nullptr) throw FileError(fmt::format("{}: storage {} has no record", path, shown_text(root.key)));
    if (record->data.size() != static_cast<size_t>(root.count) * root.type->size)
      throw FileError(fmt::format("{}: storage {}: {} elements of {} bytes, but its record has {} bytes", path,
                                  shown_text(root.key), root.count, root.type->size, record->data.size()));
    root.data = record->data;
  }
  return contents;
}

}  // namespace segrt
