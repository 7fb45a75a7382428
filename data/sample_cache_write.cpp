#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "core/zip_file.h"
#include "data/sample_cache_format.h"

namespace segrt::data {
namespace {

namespace fs = std::filesystem;

// <file>.part while it grows: locked, appended to, cut at its end, and renamed when it is whole.
class PartFile {
 public:
  explicit PartFile(const fs::path& file) : file_(file), part_(file.string() + ".part") {
    std::error_code error;
    if (file.has_parent_path()) fs::create_directories(file.parent_path(), error);
    fd_ = ::open(part_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd_ < 0) fail("cannot write");
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      ::close(fd_);
      throw FileError(part_.string() + ": another process is writing it");
    }
  }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;
  ~PartFile() { ::close(fd_); }

  const fs::path& path() const { return part_; }
  uint64_t end() const { return end_; }

  // What follows goes to `end`, and what was there is gone.
  void cut(uint64_t end) {
    if (::ftruncate(fd_, static_cast<off_t>(end)) != 0 || ::lseek(fd_, static_cast<off_t>(end), SEEK_SET) < 0)
      fail("cannot write");
    end_ = end;
  }
  void append(std::string_view bytes) {
    end_ += bytes.size();
    while (!bytes.empty()) {
      const ssize_t written = ::write(fd_, bytes.data(), std::min(bytes.size(), size_t{1} << 30));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail("cannot write");
      bytes.remove_prefix(static_cast<size_t>(written));
    }
  }
  void append(const std::vector<uint8_t>& bytes) {
    append(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  }
  void align() { append(std::string(aligned(end_) - end_, '\0')); }
  void commit() {
    if (::fsync(fd_) != 0) fail("cannot write to the disk");
    if (::rename(part_.c_str(), file_.c_str()) != 0) fail("cannot rename");
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    const int code = errno;
    throw FileError(fmt::format("{}: {}: {}", part_.string(), what, std::generic_category().message(code)));
  }

  fs::path file_, part_;
  int fd_ = -1;
  uint64_t end_ = 0;
};

uint32_t crc_of(const CacheEntry& entry, std::string_view name) {
  const std::string text = std::string(bytes_of(entry)) + std::string(name);
  return crc32_of(std::as_bytes(std::span(text)));
}

// The records at the beginning of an interrupted run's file that are whole and hold the samples as they are now: their
// index. `end` is where they end.
std::string whole_records(const Dataset& dataset, const fs::path& part, int64_t& count, uint64_t& end) {
  const MappedFile mapping(part.string());
  const std::span<const std::byte> bytes = mapping.bytes();
  std::string index;
  CacheHeader header;
  count = 0;
  end = sizeof header;
  if (!read_at(bytes, 0, header) || bytes_of(header) != bytes_of(cache_header(dataset))) return index;
  for (; count < dataset.size(); ++count) {
    CacheRecord record;
    if (!read_at(bytes, end, record)) break;
    const CacheEntry& entry = record.entry;
    const uint64_t name_at = end + sizeof record;
    if (entry.name_bytes > bytes.size() - name_at || !fits(entry, bytes.size())) break;
    const std::string_view name(reinterpret_cast<const char*>(bytes.data()) + name_at, entry.name_bytes);
    if (record.crc != crc_of(entry, name) || entry.sample != static_cast<uint64_t>(count) ||
        entry.stamp() != stamp_of(dataset, count))
      break;
    const auto pixels = bytes.subspan(entry.offset);
    if (crc32_of(pixels.first(entry.image_bytes())) != entry.image_crc ||
        crc32_of(pixels.subspan(entry.image_bytes(), entry.label_bytes())) != entry.label_crc)
      break;
    index += std::string(bytes_of(entry)) + std::string(name);
    end = aligned(entry.offset + entry.image_bytes() + entry.label_bytes());
  }
  return index;
}

struct Decoded {
  Sample sample;
  CacheEntry entry;
};

Decoded decode(const Dataset& dataset, int64_t index) {
  Decoded d;
  const SampleStamp stamp = stamp_of(dataset, index);  // before the files are read: a change in between is noticed
  d.sample = dataset.load(index);
  const Image &image = d.sample.image, &label = d.sample.label;
  d.entry = {.sample = static_cast<uint64_t>(index),
             .offset = 0,
             .height = image.height,
             .width = image.width,
             .image_crc = crc32_of(std::as_bytes(std::span(image.pixels))),
             .label_crc = crc32_of(std::as_bytes(std::span(label.pixels))),
             .image = stamp.image,
             .label = stamp.label,
             .names_crc = stamp.names_crc,
             .name_bytes = static_cast<uint32_t>(d.sample.name.size()),
             .has_label = label.empty() ? 0u : 1u};
  return d;
}

void append(PartFile& part, Decoded& d, std::string& index) {
  d.entry.offset = aligned(part.end() + sizeof(CacheRecord) + d.sample.name.size());
  CacheRecord record;
  record.crc = crc_of(d.entry, d.sample.name);
  record.entry = d.entry;
  part.append(bytes_of(record));
  part.append(d.sample.name);
  part.align();
  part.append(d.sample.image.pixels);
  part.append(d.sample.label.pixels);
  part.align();
  index += std::string(bytes_of(d.entry)) + d.sample.name;
}

bool is_current(const Dataset& dataset, const fs::path& file, uint64_t& nbytes) {
  if (!fs::exists(file)) return false;
  try {
    nbytes = CacheFile(dataset, file).nbytes();
    return true;
  } catch (const FileError&) {
    return false;
  }
}

}  // namespace

CacheResult write_cache(const Dataset& dataset, const fs::path& file, bool force, const CacheProgress& progress) {
  if (dataset.size() == 0 || dataset.files(0).empty())
    throw ArgumentError(dataset.name() + ": is not made of files, so there is nothing to keep of their decoding");
  CacheResult result{.samples = dataset.size()};
  result.up_to_date = !force && is_current(dataset, file, result.nbytes);
  if (result.up_to_date) return result;

  PartFile part(file);
  uint64_t end = 0;
  std::string index = whole_records(dataset, part.path(), result.resumed, end);
  if (result.resumed == 0 || force) {
    index.clear();
    result.resumed = 0;
    part.cut(0);
    part.append(bytes_of(cache_header(dataset)));
  } else {
    part.cut(end);
  }
  const int64_t chunk = 4 * std::max(threads(), 1);  // decoded together, written in order
  for (int64_t begin = result.resumed; begin < dataset.size(); begin += chunk) {
    std::vector<Decoded> decoded(static_cast<size_t>(std::min(chunk, dataset.size() - begin)));
    parallel_for(static_cast<int64_t>(decoded.size()),
                 [&](int64_t i) { decoded[static_cast<size_t>(i)] = decode(dataset, begin + i); });
    for (Decoded& d : decoded) append(part, d, index);
    if (progress) progress(begin + static_cast<int64_t>(decoded.size()), dataset.size());
  }
  CacheTrailer trailer;
  trailer.index_offset = part.end();
  trailer.index_bytes = index.size();
  trailer.index_crc = crc32_of(std::as_bytes(std::span(index)));
  part.append(index);
  part.append(bytes_of(trailer));
  part.commit();
  result.nbytes = part.end();
  return result;
}

}  // namespace segrt::data
