#include "core/zip_file.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/weight_file.h"

namespace segrt {
namespace {
constexpr uint32_t kLocalSignature = 0x04034b50, kEntrySignature = 0x02014b50, kEndSignature = 0x06054b50,
                   kEnd64Signature = 0x06064b50, kLocatorSignature = 0x07064b50;
constexpr size_t kLocalBytes = 30, kEntryBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kLocatorBytes = 20;
constexpr uint16_t kEncrypted = 1, kSizesFollow = 8;  // flags
constexpr uint16_t kZip64 = 1;                        // id of the extra field
constexpr uint16_t kIn64 = 0xffff;                    // "the 64-bit field holds it"
constexpr uint32_t kIn64Wide = 0xffffffff;

// The directory's view of a record.
struct Entry {
  std::string_view name;
  uint16_t flags, method;
  uint32_t crc;
  uint64_t stored, size, offset;  // bytes in the archive, bytes of content, place of the local header
};
struct Directory {
  uint64_t count, size, offset;
};

class ZipReader {
 public:
  ZipReader(const std::string& path, std::span<const std::byte> bytes) : path_(path), bytes_(bytes) {}

  std::vector<Entry> entries();
  // Where the record ends, and its content.
  std::pair<uint64_t, std::span<const std::byte>> content(const Entry& entry) const;
  uint64_t directory_begin() const { return directory_begin_; }
  [[noreturn]] void fail(const std::string& what) const { throw FileError(path_ + ": " + what); }

 private:
  template <typename T>
  T at(uint64_t offset) const {  // little-endian
    if (offset > bytes_.size() || sizeof(T) > bytes_.size() - offset)
      fail(fmt::format("not a whole zip archive: byte {} is beyond its end", offset));
    T value;
    std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return value;
  }
  std::string_view text(uint64_t offset, uint64_t length) const {
    if (offset > bytes_.size() || length > bytes_.size() - offset)
      fail(fmt::format("not a whole zip archive: byte {} is beyond its end", offset + length));
    return {reinterpret_cast<const char*>(bytes_.data()) + offset, static_cast<size_t>(length)};
  }
  uint64_t find_end() const;
  Directory directory() const;
  std::optional<Directory> directory64(uint64_t end) const;
  Entry entry(uint64_t& offset) const;
  void read_extra64(Entry& entry, uint64_t offset, uint64_t length) const;

  const std::string& path_;
  std::span<const std::byte> bytes_;
  uint64_t directory_begin_ = 0;
};

// The end record is last, but for a comment of its own stated length.
uint64_t ZipReader::find_end() const {
  const uint64_t size = bytes_.size();
  for (uint64_t back = kEndBytes; back <= std::min<uint64_t>(size, kEndBytes + 0xffff); ++back)
    if (at<uint32_t>(size - back) == kEndSignature && at<uint16_t>(size - back + 20) == back - kEndBytes)
      return size - back;
  fail("not a whole zip archive: it has no end-of-central-directory record; the file may be cut short");
}

Directory ZipReader::directory() const {
  const uint64_t end = find_end();
  const auto count = at<uint16_t>(end + 10);
  const auto size = at<uint32_t>(end + 12), offset = at<uint32_t>(end + 16);
  Directory d{count, size, offset};
  uint64_t limit = end;
  if (const std::optional<Directory> wide = directory64(end)) {
    if ((count != kIn64 && count != wide->count) || (size != kIn64Wide && size != wide->size) ||
        (offset != kIn64Wide && offset != wide->offset))
      fail("zip archive whose two end records disagree");
    d = *wide;
    limit = at<uint64_t>(end - kLocatorBytes + 8);
  } else if (at<uint16_t>(end + 4) != 0 || at<uint16_t>(end + 6) != 0 || at<uint16_t>(end + 8) != count) {
    fail("zip archive of several parts");
  }
  if (d.offset > limit || d.size > limit - d.offset || d.count > d.size / kEntryBytes)
    fail(fmt::format("zip directory of {} records in {} bytes at {} does not fit the file", d.count, d.size, d.offset));
  return d;
}

std::optional<Directory> ZipReader::directory64(uint64_t end) const {
  if (end < kLocatorBytes || at<uint32_t>(end - kLocatorBytes) != kLocatorSignature) return std::nullopt;
  const uint64_t locator = end - kLocatorBytes, begin = at<uint64_t>(locator + 8);
  if (begin > locator || locator - begin < kEnd64Bytes || at<uint32_t>(begin) != kEnd64Signature)
    fail(fmt::format("zip archive without a 64-bit end record at {}", begin));
  const auto count = at<uint64_t>(begin + 32);
  if (at<uint32_t>(locator + 4) != 0 || at<uint32_t>(locator + 16) > 1 || at<uint32_t>(begin + 16) != 0 ||
      at<uint32_t>(begin + 20) != 0 || at<uint64_t>(begin + 24) != count)
    fail("zip archive of several parts");
  return Directory{count, at<uint64_t>(begin + 40), at<uint64_t>(begin + 48)};
}

std::vector<Entry> ZipReader::entries() {
  const Directory d = directory();
  directory_begin_ = d.offset;
  std::vector<Entry> entries;
  uint64_t offset = d.offset;
  for (uint64_t i = 0; i < d.count; ++i) entries.push_back(entry(offset));
  if (offset != d.offset + d.size) fail("zip directory whose records do not fill it");
  return entries;
}

Entry ZipReader::entry(uint64_t& offset) const {
  if (at<uint32_t>(offset) != kEntrySignature) fail(fmt::format("zip directory without an entry at {}", offset));
  const uint64_t name_length = at<uint16_t>(offset + 28), extra_length = at<uint16_t>(offset + 30);
  Entry e{.name = text(offset + kEntryBytes, name_length),
          .flags = at<uint16_t>(offset + 8),
          .method = at<uint16_t>(offset + 10),
          .crc = at<uint32_t>(offset + 16),
          .stored = at<uint32_t>(offset + 20),
          .size = at<uint32_t>(offset + 24),
          .offset = at<uint32_t>(offset + 42)};
  read_extra64(e, offset + kEntryBytes + name_length, extra_length);
  offset += kEntryBytes + name_length + extra_length + at<uint16_t>(offset + 32);
  return e;
}

// The 64-bit field holds, in this order, those of the three numbers that did not fit.
void ZipReader::read_extra64(Entry& e, uint64_t offset, uint64_t length) const {
  text(offset, length);
  const uint64_t end = offset + length;
  while (end - offset >= 4) {
    const auto id = at<uint16_t>(offset);
    const uint64_t size = at<uint16_t>(offset + 2);
    offset += 4;
    if (size > end - offset) fail(fmt::format("zip record {} has a damaged extra field", shown_text(e.name)));
    if (id == kZip64) {
      uint64_t at_number = offset;
      for (uint64_t* number : {&e.size, &e.stored, &e.offset}) {
        if (*number != kIn64Wide) continue;
        if (at_number + 8 > offset + size)
          fail(fmt::format("zip record {} has a short 64-bit field", shown_text(e.name)));
        *number = at<uint64_t>(at_number);
        at_number += 8;
      }
      return;
    }
    offset += size;
  }
}

std::pair<uint64_t, std::span<const std::byte>> ZipReader::content(const Entry& e) const {
  const auto fail_here = [&](const std::string& what) { fail("zip record " + shown_text(e.name) + " " + what); };
  if (e.flags & kEncrypted) fail_here("is encrypted");
  if (e.method != 0) fail_here(fmt::format("is compressed (method {}); PyTorch stores records as they are", e.method));
  if (e.stored != e.size) fail_here(fmt::format("has {} bytes and {} in the archive", e.size, e.stored));
  if (e.offset > directory_begin_ || at<uint32_t>(e.offset) != kLocalSignature)
    fail_here(fmt::format("has no header at {}", e.offset));
  const uint64_t name_length = at<uint16_t>(e.offset + 26), extra_length = at<uint16_t>(e.offset + 28);
  const bool sizes_follow = (at<uint16_t>(e.offset + 6) & kSizesFollow) != 0;
  const auto local_size = at<uint32_t>(e.offset + 22);
  if (text(e.offset + kLocalBytes, name_length) != e.name || at<uint16_t>(e.offset + 8) != e.method ||
      (!sizes_follow && (at<uint32_t>(e.offset + 14) != e.crc || (local_size != e.size && local_size != kIn64Wide))))
    fail_here("has a header that differs from the directory");
  const uint64_t begin = e.offset + kLocalBytes + name_length + extra_length;
  if (begin > directory_begin_ || e.size > directory_begin_ - begin)
    fail_here(fmt::format("has {} bytes at {}, beyond the records' part of the file", e.size, begin));
  return {begin + e.size, bytes_.subspan(static_cast<size_t>(begin), static_cast<size_t>(e.size))};
}
}  // namespace

ZipFile::ZipFile(const std::string& path, std::span<const std::byte> bytes) {
  ZipReader reader(path, bytes);
  const std::vector<Entry> entries = reader.entries();
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const Entry& entry : entries) {
    const auto [end, data] = reader.content(entry);
    ranges.emplace_back(entry.offset, end);
    if (!position_.emplace(entry.name, records_.size()).second)
      reader.fail("zip record " + shown_text(entry.name) + " is there twice");
    records_.push_back({entry.name, data});
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].first < ranges[i - 1].second) reader.fail(fmt::format("zip records overlap at {}", ranges[i].first));
  for (size_t i = 0; i < entries.size(); ++i)
    if (const uint32_t crc = crc32_of(records_[i].data); crc != entries[i].crc)
      reader.fail(fmt::format("zip record {} is damaged: its CRC-32 is {:08x}, expected {:08x}",
                              shown_text(entries[i].name), crc, entries[i].crc));
}

const ZipRecord* ZipFile::find(std::string_view name) const {
  const auto it = position_.find(name);
  return it == position_.end() ? nullptr : &records_[it->second];
}

uint32_t crc32_of(std::span<const std::byte> bytes) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace segrt
