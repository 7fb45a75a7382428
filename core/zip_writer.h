// Writes zip archives of stored records, which core/zip_file.h and everybody else reads. Format: PKWARE's APPNOTE.TXT.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/atomic_file.h"

namespace segrt {

class ZipWriter {
 public:
  // `from64`: size or offset from which on records have 64-bit fields; less than the default in tests alone.
  explicit ZipWriter(AtomicFile& file, uint64_t from64 = 0xffffffff) : file_(file), from64_(from64) {}

  // A record, its data at a multiple of 64 bytes. Names are UTF-8, folders in them are separated by '/', and the date
  // is always the same, so that equal contents make equal files.
  void add(const std::string& name, std::span<const std::byte> data);
  void finish();  // the directory; nothing may be added after it. The file is the caller's to commit

 private:
  AtomicFile& file_;
  uint64_t from64_, offset_ = 0, count_ = 0;
  std::string directory_ = {};
};

}  // namespace segrt
