#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/torch_checkpoint.h"
#include "core/zip_file.h"

namespace segrt {
namespace {
constexpr std::string_view kFolder = "archive";  // torch.save's name when it does not know the file's
constexpr size_t kAlignment = 64;                // of records, so that a reader may map them

template <typename T>
void put(std::string& out, T value) {  // little-endian
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Stored records and their directory; PKWARE's APPNOTE.TXT.
class ZipWriter {
 public:
  ZipWriter(AtomicFile& file, uint64_t from64) : file_(file), from64_(from64) {}

  void add(const std::string& name, std::span<const std::byte> data) {
    const uint32_t crc = crc32_of(data);
    const bool wide = data.size() >= from64_ || offset_ >= from64_;
    std::string local, field64;
    if (wide) {
      put(field64, uint16_t{1});
      put(field64, uint16_t{16});
      put(field64, uint64_t{data.size()});
      put(field64, uint64_t{data.size()});
    }
    // A field of no meaning ("FB") moves the data to a multiple of 64.
    const size_t begin = static_cast<size_t>(offset_) + 30 + name.size() + field64.size() + 4;
    const size_t padding = (kAlignment - begin % kAlignment) % kAlignment;
    put(local, uint32_t{0x04034b50});
    put_common(local, crc, wide ? ~uint64_t{0} : data.size(), name.size());
    put(local, static_cast<uint16_t>(field64.size() + 4 + padding));
    local += name + field64 + "FB";
    put(local, static_cast<uint16_t>(padding));
    local.append(padding, 'Z');

    put(directory_, uint32_t{0x02014b50});
    put(directory_, uint16_t{45});  // made by
    put_common(directory_, crc, wide ? ~uint64_t{0} : data.size(), name.size());
    if (wide) put(field64, uint64_t{offset_});
    if (wide) field64[2] = 24;
    put(directory_, static_cast<uint16_t>(field64.size()));
    directory_.append(2 + 2 + 2 + 4, '\0');  // comment, disk, attributes
    put(directory_, wide ? ~uint32_t{0} : static_cast<uint32_t>(offset_));
    directory_ += name + field64;

    file_.write(local);
    file_.write(data);
    offset_ += local.size() + data.size();
    ++count_;
  }

  void finish() {
    const uint64_t begin = offset_, size = directory_.size();
    std::string end;
    if (begin >= from64_ || count_ >= 0xffff || size >= from64_) {
      put(end, uint32_t{0x06064b50});
      put(end, uint64_t{44});  // bytes that follow in this record
      put(end, uint16_t{45});
      put(end, uint16_t{45});
      put(end, uint64_t{0});  // disks
      put(end, count_);
      put(end, count_);
      put(end, size);
      put(end, begin);
      put(end, uint32_t{0x07064b50});
      put(end, uint32_t{0});
      put(end, begin + size);
      put(end, uint32_t{1});
    }
    put(end, uint32_t{0x06054b50});
    put(end, uint32_t{0});  // disks
    const auto count = static_cast<uint16_t>(std::min<uint64_t>(count_, 0xffff));
    put(end, count);
    put(end, count);
    put(end, static_cast<uint32_t>(std::min<uint64_t>(size, 0xffffffff)));
    put(end, static_cast<uint32_t>(std::min<uint64_t>(begin, 0xffffffff)));
    put(end, uint16_t{0});  // comment
    file_.write(directory_);
    file_.write(end);
  }

 private:
  // What local header and directory have alike: version needed to length of the name.
  static void put_common(std::string& out, uint32_t crc, uint64_t size, size_t name_length) {
    put(out, uint16_t{45});
    put(out, uint16_t{0x0800});  // names are UTF-8
    put(out, uint16_t{0});       // stored
    put(out, uint16_t{0});       // time and date: 1980-01-01, so that equal weights make equal files
    put(out, uint16_t{0x21});
    put(out, crc);
    const auto narrow = static_cast<uint32_t>(std::min<uint64_t>(size, 0xffffffff));
    put(out, narrow);
    put(out, narrow);
    put(out, static_cast<uint16_t>(name_length));
  }

  AtomicFile& file_;
  uint64_t from64_, offset_ = 0, count_ = 0;
  std::string directory_ = {};
};

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
