// Writes a file so that its name always holds a whole file: the old one until commit(), the new one after.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace segrt {

// Bytes go to a temporary name in the same folder; commit() flushes them to the disk and renames. Without commit, also
// by an exception, the temporary is removed and the old file is untouched. Failures are FileErrors that start with
// `path`.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void commit();

 private:
  [[noreturn]] void fail(const std::string& what) const;  // with the system's reason (errno)

  std::string path_, temporary_;
  int fd_ = -1;
};

}  // namespace segrt
