#include "core/atomic_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "core/error.h"

namespace segrt {
namespace {
std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}
}  // namespace

AtomicFile::AtomicFile(const std::string& path) : path_(path) {
  std::error_code unreadable;  // reported by open below
  if (std::filesystem::is_directory(path, unreadable)) throw FileError(path + ": is a folder, expected a file name");
  const std::string name = std::filesystem::path(path).filename().string();
  // O_EXCL and a counter: threads and processes that write the same name do not share a temporary.
  for (int attempt = 0; fd_ < 0; ++attempt) {
    temporary_ = folder_of(path) + "/." + name.substr(0, 200) + "." + std::to_string(::getpid()) + "." +
                 std::to_string(attempt) + ".part";
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0 && (errno != EEXIST || attempt == 1000)) fail("cannot write");
  }
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::fail(const std::string& what) const {
  const int code = errno;
  throw FileError(path_ + ": " + what + ": " + std::generic_category().message(code));
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  constexpr size_t kMaxWrite = size_t{1} << 30;  // Linux writes at most 2 GiB a call
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), std::min(bytes.size(), kMaxWrite));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("cannot write");
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void AtomicFile::commit() {
  if (::fsync(fd_) != 0) fail("cannot write to the disk");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot replace");
  ::close(fd_);  // nothing left to flush: fsync has reported what close could
  fd_ = -1;
  // The new name is on the disk when the folder is. Some file systems cannot sync a folder; the file itself is safe.
  const int folder = ::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  static_cast<void>(::fsync(folder));
  ::close(folder);
}

}  // namespace segrt
