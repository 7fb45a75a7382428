// The records of a zip archive in memory, as PyTorch writes it: stored, not compressed. Read through the central
// directory (local headers of a streamed archive hold zeros), with its 64-bit extension. Format: PKWARE's APPNOTE.TXT.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace segrt {

struct ZipRecord {
  std::string_view name;
  std::span<const std::byte> data;
};

class ZipFile {
 public:
  // Checks everything: one disk, one record a name, nothing compressed or encrypted, records inside the file and apart
  // from each other, directory and local headers agreeing, and every record's CRC-32. Throws FileError, "path: ...".
  // `bytes` must outlive this.
  ZipFile(const std::string& path, std::span<const std::byte> bytes);

  const std::vector<ZipRecord>& records() const { return records_; }
  const ZipRecord* find(std::string_view name) const;  // null if there is none

 private:
  std::vector<ZipRecord> records_;  // in the order of the directory
  std::map<std::string_view, size_t> position_;
};

// CRC-32 as zip archives have it (ISO 3309).
uint32_t crc32_of(std::span<const std::byte> bytes);

}  // namespace segrt
