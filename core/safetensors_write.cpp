#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/safetensors.h"

namespace segrt {
namespace {
constexpr size_t kAlignment = 8;
constexpr size_t kStagingBytes = size_t{16} << 20;

std::string json_text(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw ArgumentError("write_safetensors: \"" + text + "\" is not UTF-8");
  }
}

void check(std::span<const NamedTensor> tensors) {
  std::set<std::string_view> names;
  for (const NamedTensor& t : tensors) {
    if (t.name == "__metadata__") throw ArgumentError("write_safetensors: a tensor cannot be called __metadata__");
    if (!names.insert(t.name).second) throw ArgumentError("write_safetensors: two tensors are called " + t.name);
    if (!t.tensor.defined() || t.tensor.device().is_meta())
      throw ArgumentError("write_safetensors: " + t.name + " has no values: " + describe(t.tensor));
  }
}

// The 8 bytes of length and the header itself; the ranges of the entries count from its end.
std::string header_of(std::span<const WeightEntry> entries, const std::map<std::string, std::string>& metadata) {
  std::string header;
  for (const auto& [key, value] : metadata)
    header += fmt::format("{}{}:{}", header.empty() ? "" : ",", json_text(key), json_text(value));
  if (!metadata.empty()) header = "\"__metadata__\":{" + header + "}";
  for (const WeightEntry& e : entries)
    header += fmt::format(R"({}{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", header.empty() ? "" : ",",
                          json_text(e.name), e.dtype, fmt::join(e.shape, ","), e.begin, e.end);
  header = "{" + header + "}";
  header.append((kAlignment - header.size() % kAlignment) % kAlignment, ' ');
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof size) + header;
}

std::vector<WeightEntry> entries_of(std::span<const NamedTensor> tensors) {
  std::vector<WeightEntry> entries;
  size_t begin = 0;
  for (const NamedTensor& t : tensors) {
    const std::span<const int64_t> dims = t.tensor.shape().dims();
    entries.push_back({.name = t.name,
                       .dtype = std::string(safetensors_name(t.tensor.dtype())),
                       .shape = {dims.begin(), dims.end()},
                       .begin = begin,
                       .end = begin + t.tensor.nbytes()});
    begin = entries.back().end;
  }
  return entries;
}

// Through a bounded buffer where the values are not in host memory.
void write_values(AtomicFile& file, const Tensor& t, std::vector<std::byte>& staging) {
  const auto* values = static_cast<const std::byte*>(t.raw());
  if (t.device().is_cpu()) {
    file.write({values, t.nbytes()});
    return;
  }
  for (size_t begin = 0; begin < t.nbytes(); begin += kStagingBytes) {
    staging.resize(std::min(kStagingBytes, t.nbytes() - begin));
    t.device().copy_to_host(staging.data(), values + begin, staging.size());
    file.write(staging);
  }
}
}  // namespace

void write_safetensors(const std::string& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  check(tensors);
  const std::string header = header_of(entries_of(tensors), metadata);
  AtomicFile file(path);
  file.write(header);
  std::vector<std::byte> staging;
  for (const NamedTensor& t : tensors) write_values(file, t.tensor, staging);
  file.commit();
}

void write_safetensors(const std::string& path, const WeightFile& weights,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<WeightEntry> entries = weights.entries();
  size_t begin = 0;
  for (WeightEntry& e : entries) {
    if (e.name == "__metadata__") throw ArgumentError("write_safetensors: a tensor cannot be called __metadata__");
    e.begin = begin;
    begin = e.end = begin + safetensors_bits(e, weights.path() + ": " + e.name + ": ") / 8;
  }
  const std::string header = header_of(entries, metadata);
  AtomicFile file(path);
  file.write(header);
  std::vector<std::byte> buffer;
  for (size_t i = 0; i < entries.size(); ++i) file.write(weights.values(i, buffer));
  file.commit();
}

}  // namespace segrt
