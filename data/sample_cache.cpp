#include "data/sample_cache.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "core/zip_file.h"
#include "data/sample_cache_format.h"

namespace segrt::data {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, std::string_view cause) {
  throw FileError(fmt::format("{}: {}", path.string(), cause));
}

uint32_t crc_of(std::string_view text) { return crc32_of(std::as_bytes(std::span(text))); }

FileStamp stamp_of_file(const fs::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) fail(path, std::generic_category().message(errno));
  return {static_cast<uint64_t>(info.st_size), int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec};
}

}  // namespace

SampleStamp stamp_of(const Dataset& dataset, int64_t index) {
  const std::vector<fs::path> files = dataset.files(index);
  SampleStamp stamp;
  std::string names;
  for (const fs::path& file : files) names += (file.parent_path().filename() / file.filename()).string() + '\n';
  stamp.names_crc = crc_of(names);
  stamp.image = stamp_of_file(files.at(0));
  if (files.size() > 1) stamp.label = stamp_of_file(files[1]);
  return stamp;
}

CacheHeader cache_header(const Dataset& dataset) {
  std::string text = dataset.name() + '\n';
  for (const std::string& name : dataset.classes().names) text += name + '\n';
  CacheHeader header;
  header.identity = crc_of(text) | uint64_t{static_cast<uint32_t>(dataset.classes().ignore_index)} << 32;
  header.samples = static_cast<uint64_t>(dataset.size());
  return header;
}

bool fits(const CacheEntry& entry, uint64_t end) {
  if (entry.height < 1 || entry.width < 1 || entry.height > kMaxImageSide || entry.width > kMaxImageSide) return false;
  const uint64_t size = entry.image_bytes() + entry.label_bytes();
  return entry.offset <= end && size <= end - entry.offset;
}

fs::path cache_file(const fs::path& folder, const Dataset& dataset) {
  std::string name = dataset.name();
  std::replace(name.begin(), name.end(), '/', '_');
  return folder / (name + ".segcache");
}

CacheFile::CacheFile(const Dataset& dataset, const fs::path& file) : path_(file), mapping_(file.string()) {
  const std::span<const std::byte> bytes = mapping_.bytes();
  const CacheHeader expected = cache_header(dataset);
  CacheHeader header;
  CacheTrailer trailer;
  constexpr size_t kFormatAndMagic = offsetof(CacheTrailer, format);
  if (!read_at(bytes, 0, header) || !std::equal(header.magic, header.magic + 8, expected.magic))
    fail(file, "not a cache of samples");
  if (header.format != kCacheFormat || header.decoder != kDecoderVersion)
    fail(file, fmt::format("a cache of format {} and decoder {}, expected {} and {}; `segdata cache` makes it again",
                           header.format, header.decoder, kCacheFormat, kDecoderVersion));
  if (header.identity != expected.identity || header.samples != expected.samples)
    fail(file,
         fmt::format("not a cache of {}, or of other files in it; `segdata cache` makes it again", dataset.name()));
  if (!read_at(bytes, bytes.size() - sizeof trailer, trailer) ||
      bytes_of(trailer).substr(kFormatAndMagic) != bytes_of(CacheTrailer{}).substr(kFormatAndMagic) ||
      trailer.index_offset > bytes.size() - sizeof trailer ||
      trailer.index_bytes != bytes.size() - sizeof trailer - trailer.index_offset)
    fail(file, "a cache that was cut short");
  const auto index = bytes.subspan(trailer.index_offset, trailer.index_bytes);
  if (crc32_of(index) != trailer.index_crc) fail(file, "a cache whose index is damaged");
  uint64_t at = 0;
  for (uint64_t i = 0; i < header.samples; ++i) {
    CacheEntry entry;
    const bool whole = read_at(index, at, entry) && entry.name_bytes <= index.size() - at - sizeof entry;
    if (!whole || entry.sample != i || !fits(entry, trailer.index_offset)) fail(file, "a cache whose index is damaged");
    items_.push_back(
        {entry, std::string(reinterpret_cast<const char*>(index.data()) + at + sizeof entry, entry.name_bytes)});
    at += sizeof entry + entry.name_bytes;
  }
  parallel_for(dataset.size(), 64, [&](int64_t i) {
    if (stamp_of(dataset, i) != items_[static_cast<size_t>(i)].entry.stamp())
      fail(file, fmt::format("made before {} or its label map changed; `segdata cache` makes it again",
                             dataset.files(i).front().string()));
  });
}

Sample CachedDataset::load(int64_t index) const {
  require_sample(index);
  return cache_.load(index);
}

Sample CacheFile::load(int64_t index) const {
  const auto& [entry, name] = items_[static_cast<size_t>(index)];
  const auto* pixels = reinterpret_cast<const uint8_t*>(mapping_.bytes().data()) + entry.offset;
  Sample sample;
  sample.name = name;
  sample.image.height = entry.height;
  sample.image.width = entry.width;
  sample.image.channels = 3;
  sample.image.pixels.assign(pixels, pixels + entry.image_bytes());
  if (entry.has_label == 0) return sample;
  sample.label.height = entry.height;
  sample.label.width = entry.width;
  sample.label.channels = 1;
  sample.label.pixels.assign(pixels + entry.image_bytes(), pixels + entry.image_bytes() + entry.label_bytes());
  return sample;
}

std::string CacheFile::damage(int64_t index) const {
  const auto& [entry, name] = items_[static_cast<size_t>(index)];
  const auto pixels = mapping_.bytes().subspan(entry.offset);
  if (crc32_of(pixels.first(entry.image_bytes())) != entry.image_crc)
    return fmt::format("{}: {}: the image is damaged", path_.string(), name);
  if (crc32_of(pixels.subspan(entry.image_bytes(), entry.label_bytes())) != entry.label_crc)
    return fmt::format("{}: {}: the label map is damaged", path_.string(), name);
  return "";
}

}  // namespace segrt::data
