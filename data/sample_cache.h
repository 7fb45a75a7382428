// Decoded samples of a data set in one file that is mapped into memory: reading a sample is a copy, and so as fast as
// memory or disk. What it gives is bit for bit what the data set itself gives.
//
// The file, in the byte order of the machine (little-endian), every record at a multiple of 64 bytes:
//   header    "SEGCACHE", u32 format version, u32 decoder version, u64 identity of the data set, u64 samples
//   records   in the order of the samples, each
//             "SEGR", u32 CRC-32 of entry and name; entry (CacheEntry); name; zeros to the next multiple of 64;
//             image [h,w,3]; label map [h,w,1] if there is one; zeros to the next multiple of 64
//   index     every entry again, its name after it
//   trailer   u64 offset of the index, u64 its bytes, u32 its CRC-32, u32 format version, "SEGCEND" and a zero
// While it is made it is called <file>.part and lacks index and trailer; records in it that are whole are kept when the
// work is taken up again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/mapped_file.h"
#include "data/dataset.h"

namespace segrt::data {

inline constexpr uint32_t kCacheFormat = 1;
// To be raised with every change of what decoding a file gives, or of what is made of label values.
inline constexpr uint32_t kDecoderVersion = 1;

// By which a changed source file is noticed.
struct FileStamp {
  uint64_t nbytes = 0;
  int64_t modified_ns = 0;
  bool operator==(const FileStamp&) const = default;
};
// What a sample is made of: its files' stamps, and the CRC-32 of their names and those of their folders.
struct SampleStamp {
  FileStamp image, label;  // label: zero where there is no file
  uint32_t names_crc = 0;
  bool operator==(const SampleStamp&) const = default;
};
// Throws FileError for a file that is missing.
SampleStamp stamp_of(const Dataset& dataset, int64_t index);

struct CacheEntry {
  uint64_t sample = 0;
  uint64_t offset = 0;  // of the image in the file; the label map follows it
  int32_t height = 0, width = 0;
  uint32_t image_crc = 0, label_crc = 0;
  FileStamp image, label;
  uint32_t names_crc = 0, name_bytes = 0;
  uint32_t has_label = 0, reserved = 0;

  SampleStamp stamp() const { return {image, label, names_crc}; }
  uint64_t image_bytes() const { return uint64_t{3} * static_cast<uint64_t>(height) * static_cast<uint64_t>(width); }
  uint64_t label_bytes() const { return has_label != 0 ? image_bytes() / 3 : 0; }
};
static_assert(sizeof(CacheEntry) == 80);

// <folder>/<name of the data set>.segcache
std::filesystem::path cache_file(const std::filesystem::path& folder, const Dataset& dataset);

struct CacheResult {
  bool up_to_date = false;           // nothing had to be done
  int64_t samples = 0, resumed = 0;  // resumed: found whole in what an interrupted run left
  uint64_t nbytes = 0;
};
using CacheProgress = std::function<void(int64_t done, int64_t total)>;
// Decodes every sample, on all threads, into `file`, which appears under its name when it is complete. A file that is
// complete and holds the samples as they are now is left alone unless `force`. Throws FileError: a sample that cannot
// be loaded, a full disk, another process at the same work; ArgumentError for a data set that is not made of files.
CacheResult write_cache(const Dataset& dataset, const std::filesystem::path& file, bool force,
                        const CacheProgress& progress = nullptr);

// Such a file, opened for the data set that it was made of.
class CacheFile {
 public:
  // Throws FileError: a file that is missing, damaged or cut short, of another version or another data set; a sample
  // whose files are not those it was made of, by size and time of change.
  CacheFile(const Dataset& dataset, const std::filesystem::path& path);

  Sample load(int64_t index) const;
  // Compares a sample's pixels with their checksums; "" or what is wrong.
  std::string damage(int64_t index) const;
  uint64_t nbytes() const { return mapping_.bytes().size(); }

 private:
  struct Item {
    CacheEntry entry;
    std::string name;
  };
  std::filesystem::path path_;
  MappedFile mapping_;
  std::vector<Item> items_;
};

// A data set whose samples come from such a file.
class CachedDataset final : public Dataset {
 public:
  CachedDataset(std::unique_ptr<Dataset> source, const std::filesystem::path& file)
      : source_(std::move(source)), cache_(*source_, file) {}

  const std::string& name() const override { return source_->name(); }
  int64_t size() const override { return source_->size(); }
  Sample load(int64_t index) const override;
  std::vector<std::filesystem::path> files(int64_t index) const override { return source_->files(index); }
  const LabelTable& classes() const override { return source_->classes(); }
  bool has_labels() const override { return source_->has_labels(); }
  bool is_classification() const override { return source_->is_classification(); }
  int64_t class_of(int64_t index) const override { return source_->class_of(index); }
  PredictionFile prediction_file(const std::string& sample, const Image& prediction) const override {
    return source_->prediction_file(sample, prediction);
  }
  std::array<double, 3> mean() const override { return source_->mean(); }
  std::array<double, 3> std() const override { return source_->std(); }

 private:
  std::unique_ptr<Dataset> source_;
  CacheFile cache_;
};

}  // namespace segrt::data
