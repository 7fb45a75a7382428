// A file's bytes, mapped read-only. The mapping outlives renames and deletion of the file; a file that another program
// shortens while it is mapped raises SIGBUS on access, as with every mapping.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace segrt {

class MappedFile {
 public:
  // Throws FileError ("path: cannot open: No such file or directory") if it is missing, unreadable or no regular file.
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }
  std::string_view text() const { return {static_cast<const char*>(data_), size_}; }

 private:
  void* data_ = nullptr;  // null for an empty file: there is no mapping of length 0
  size_t size_ = 0;
};

}  // namespace segrt
