// Parts of data/sample_cache.h's file that its writer and its reader share. Internal to data.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "data/dataset.h"
#include "data/sample_cache.h"

namespace segrt::data {

inline constexpr uint64_t kCacheAlignment = 64;

struct CacheHeader {
  char magic[8] = {'S', 'E', 'G', 'C', 'A', 'C', 'H', 'E'};
  uint32_t format = kCacheFormat, decoder = kDecoderVersion;
  uint64_t identity = 0, samples = 0, reserved[4] = {};
};
static_assert(sizeof(CacheHeader) == kCacheAlignment);

struct CacheRecord {
  char magic[4] = {'S', 'E', 'G', 'R'};
  uint32_t crc = 0;
  CacheEntry entry;
};
static_assert(sizeof(CacheRecord) == 88);

struct CacheTrailer {
  uint64_t index_offset = 0, index_bytes = 0;
  uint32_t index_crc = 0, format = kCacheFormat;
  char magic[8] = {'S', 'E', 'G', 'C', 'E', 'N', 'D', '\0'};
};
static_assert(sizeof(CacheTrailer) == 32);

inline uint64_t aligned(uint64_t offset) { return (offset + kCacheAlignment - 1) / kCacheAlignment * kCacheAlignment; }

template <typename T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
// Throws nothing: whether [offset, offset + sizeof) is in `bytes`.
template <typename T>
bool read_at(std::span<const std::byte> bytes, uint64_t offset, T& value) {
  if (offset > bytes.size() || sizeof value > bytes.size() - offset) return false;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return true;
}

// Of the data set, so that a cache of another one is not taken for it: name, classes, and the version of this function.
CacheHeader cache_header(const Dataset& dataset);
// Whether the sizes are those of an image that lies in [0, end) of the file.
bool fits(const CacheEntry& entry, uint64_t end);

}  // namespace segrt::data
