#include <fmt/format.h>

#include <cstring>

#include "core/error.h"
#include "core/torch_archive.h"
#include "core/unpickler.h"
#include "core/weight_file.h"

namespace segrt {
namespace {
constexpr std::string_view kMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);  // 0x1950a86a20f9469cfc6c
constexpr int64_t kProtocolVersion = 1001;

// The machine that wrote the file: {"protocol_version": 1001, "little_endian": True, "type_sizes": {...}}.
bool is_little_endian(const PickleObjects& objects, const PickleValue& machine) {
  if (machine.kind != PickleKind::dict) return false;
  for (uint32_t i = objects.container(machine).first; i != PickleObjects::kNone;) {
    const PickleObjects::Cell &key = objects.cell(i), &value = objects.cell(key.next);
    if (key.value.kind == PickleKind::text && objects.text(key.value) == "little_endian")
      return value.value.kind == PickleKind::boolean && value.value.bits == 1;
    i = value.next;
  }
  return false;
}

// The elements behind the pickles, in the order of the list of keys.
void read_storages(const std::string& path, std::span<const std::byte> file, size_t position, PickleObjects& objects,
                   const PickleValue& keys) {
  const auto fail = [&](std::string_view key, const std::string& what) {
    throw FileError(fmt::format("{}: storage {} {}", path, shown_text(key), what));
  };
  if (keys.kind != PickleKind::list)
    throw FileError(path + ": the list of its storages is " + std::string(to_string(keys.kind)));
  for (uint32_t i = objects.container(keys).first; i != PickleObjects::kNone; i = objects.cell(i).next) {
    const PickleValue& value = objects.cell(i).value;
    if (value.kind != PickleKind::text)
      throw FileError(path + ": the list of its storages holds something else than keys");
    const std::string_view key = objects.text(value);
    const auto found = objects.root_of_key.find(key);
    if (found == objects.root_of_key.end()) fail(key, "belongs to no tensor");
    PickleObjects::Root& root = objects.roots[found->second];
    if (root.has_data) fail(key, "is there twice");
    int64_t count = 0;
    if (file.size() - position < sizeof count) fail(key, "is missing: the file ends before it");
    std::memcpy(&count, file.data() + position, sizeof count);
    position += sizeof count;
    if (count != root.count) fail(key, fmt::format("has {} elements, expected {}", count, root.count));
    const size_t nbytes = static_cast<size_t>(count) * root.type->size;  // checked by the unpickler
    if (nbytes > file.size() - position)
      fail(key, fmt::format("takes {} bytes where the file has {} left", nbytes, file.size() - position));
    root.data = file.subspan(position, nbytes);
    root.has_data = true;
    position += nbytes;
  }
  for (const PickleObjects::Root& root : objects.roots)
    if (!root.has_data) fail(root.key, "is not in the file's list of storages");
  if (position != file.size())
    throw FileError(fmt::format("{}: {} bytes follow the last storage", path, file.size() - position));
}
}  // namespace

TorchContents read_torch_stream(const std::string& path, std::span<const std::byte> file) {
  TorchContents contents{PickleObjects(file), {}, 0};
  PickleObjects& objects = contents.objects;
  Unpickler unpickler(file, path, objects);
  size_t position = 0;
  const PickleValue magic = unpickler.load(position);
  if (magic.kind != PickleKind::long_integer || objects.text(magic) != kMagic)
    throw FileError(path + ": a pickle, but not a checkpoint: it does not begin with PyTorch's magic number");
  const PickleValue version = unpickler.load(position);
  if (version.kind != PickleKind::integer || version.bits != kProtocolVersion)
    throw FileError(fmt::format("{}: version {} of the stream format, expected {}", path,
                                version.kind == PickleKind::integer ? version.bits : -1, kProtocolVersion));
  if (!is_little_endian(objects, unpickler.load(position)))
    throw FileError(path + ": written on a big-endian machine; only little-endian files can be read");
  contents.top = unpickler.load(position);
  const PickleValue keys = unpickler.load(position);
  contents.pickle_bytes = position;
  read_storages(path, file, position, objects, keys);
  return contents;
}

}  // namespace segrt
