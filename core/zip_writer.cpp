#include "core/zip_writer.h"

#include <algorithm>

#include "core/zip_file.h"

namespace segrt {
namespace {
constexpr size_t kAlignment = 64;  // of records, so that a reader may map them

template <typename T>
void put(std::string& out, T value) {  // little-endian
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// What local header and directory have alike: version needed to length of the name.
void put_common(std::string& out, uint32_t crc, uint64_t size, size_t name_length) {
  put(out, uint16_t{45});
  put(out, uint16_t{0x0800});  // names are UTF-8
  put(out, uint16_t{0});       // stored
  put(out, uint16_t{0});       // time and date: 1980-01-01, so that equal contents make equal files
  put(out, uint16_t{0x21});
  put(out, crc);
  const auto narrow = static_cast<uint32_t>(std::min<uint64_t>(size, 0xffffffff));
  put(out, narrow);
  put(out, narrow);
  put(out, static_cast<uint16_t>(name_length));
}
}  // namespace

void ZipWriter::add(const std::string& name, std::span<const std::byte> data) {
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

void ZipWriter::finish() {
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

}  // namespace segrt
