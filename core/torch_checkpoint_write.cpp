#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/torch_checkpoint.h"
#include "core/zip_writer.h"

namespace segrt {
namespace {
constexpr std::string_view kFolder = "archive";  // torch.save's name when it does not know the file's

template <typename T>
void put(std::string& out, T value) {  // little-endian
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& out, std::string_view text) {
  if (text.size() > std::numeric_limits<uint32_t>::max()) throw ArgumentError("a name of more than 4 GiB");
  out += 'X';  // BINUNICODE
  put(out, static_cast<uint32_t>(text.size()));
  out += text;
}

void put_integer(std::string& out, int64_t value) {
  if (value >= 0 && value <= std::numeric_limits<int32_t>::max()) {
    out += 'J';  // BININT
    put(out, static_cast<int32_t>(value));
  } else {
    out += "\x8a\x08";  // LONG1 of 8 bytes
    put(out, value);
  }
}

const TorchType& type_of(const WeightFile& weights, const WeightEntry& entry) {
  for (const TorchType& type : kTorchTypes)
    if (type.dtype == entry.dtype) return type;
  throw FileError(fmt::format("{}: tensor {}: PyTorch's checkpoints have no type for {}", weights.path(),
                              shown_text(entry.name), entry.dtype));
}

// OrderedDict of _rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict()), protocol 2.
std::string pickle_of(const WeightFile& weights) {
  std::string out =
      "\x80\x02"
      "ccollections\nOrderedDict\n)R(";
  for (size_t i = 0; i < weights.entries().size(); ++i) {
    const WeightEntry& e = weights.entries()[i];
    put_text(out, e.name);
    out += "ctorch._utils\n_rebuild_tensor_v2\n((";
    put_text(out, "storage");
    out += fmt::format("ctorch\n{}\n", type_of(weights, e).storage);
    put_text(out, std::to_string(i));
    put_text(out, "cpu");
    int64_t elements = 1;
    for (const int64_t extent : e.shape) elements *= extent;
    put_integer(out, elements);
    out += "tQK";  // the persistent id's tuple; BININT1: offset
    out += std::string(1, '\0') + "(";
    for (const int64_t extent : e.shape) put_integer(out, extent);
    out += "t(";
    for (size_t d = 0; d < e.shape.size(); ++d) {
      int64_t stride = 1;
      for (size_t inner = d + 1; inner < e.shape.size(); ++inner) stride *= std::max<int64_t>(e.shape[inner], 1);
      put_integer(out, stride);
    }
    out +=
        "t\x89"
        "ccollections\nOrderedDict\n)RtR";
  }
  return out + "u.";
}
}  // namespace

void write_torch_checkpoint(const std::string& path, const WeightFile& weights, uint64_t zip64_from) {
  const std::string pickle = pickle_of(weights), folder = std::string(kFolder) + "/";
  const auto bytes_of = [](std::string_view text) { return std::as_bytes(std::span(text)); };
  AtomicFile file(path);
  ZipWriter zip(file, zip64_from);
  zip.add(folder + "data.pkl", bytes_of(pickle));
  zip.add(folder + "byteorder", bytes_of("little"));
  std::vector<std::byte> buffer;
  for (size_t i = 0; i < weights.entries().size(); ++i)
    zip.add(folder + "data/" + std::to_string(i), weights.values(i, buffer));
  zip.add(folder + "version", bytes_of("3\n"));
  zip.finish();
  file.commit();
}

}  // namespace segrt
