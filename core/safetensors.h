// The safetensors format: named tensors in one file, readable without copying.
//   8 bytes   N, little-endian
//   N bytes   JSON: {"__metadata__": {"k": "v"}, "name": {"dtype": "F32", "shape": [2,3], "data_offsets": [0,24]}, ...}
//   the rest  the tensors' bytes; offsets count from here, every byte belongs to exactly one tensor
// Specification: github.com/huggingface/safetensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/mapped_file.h"
#include "core/tensor.h"

namespace segrt {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;           // as written: "F32", "BF16", "BOOL", ...
  std::vector<int64_t> shape;  // outermost first; [] is a scalar
  size_t begin = 0, end = 0;   // byte range in the file
};

// What the header of a file says, after every check.
struct SafetensorsHeader {
  std::map<std::string, std::string> metadata;
  std::vector<SafetensorsEntry> entries;                // in the order of the header
  std::map<std::string, size_t, std::less<>> position;  // name -> index in entries
};

// Reads and checks the header of a whole file in memory. Throws FileError, "path: tensor "name": what is wrong", on
// anything that the format does not allow: a header longer than the file or 100 MB, not JSON or not UTF-8, repeated
// keys, unknown or missing fields, numbers that are no counts, sizes that overflow or differ from the byte range,
// ranges outside the file, that overlap, or that leave bytes unused. Takes memory in proportion to the header.
SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& path);

class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);  // throws FileError

  const std::string& path() const { return path_; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  const std::vector<SafetensorsEntry>& entries() const { return header_.entries; }
  bool contains(std::string_view name) const { return header_.position.contains(name); }
  const SafetensorsEntry& entry(std::string_view name) const;  // throws FileError if there is none

  // The tensor's bytes in the file: little-endian, of no particular alignment. Valid while this object lives.
  std::span<const std::byte> bytes(std::string_view name) const;
  // A copy on the device. Throws FileError where the runtime has no such dtype (BOOL, I8, F8_E4M3, ...) or rank.
  Tensor read(std::string_view name, Device& device) const;

 private:
  std::string path_;
  MappedFile file_;
  SafetensorsHeader header_;
};

std::string_view safetensors_name(DType dtype);  // "F32"

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

// Writes the tensors in the given order, from any device that has values; the header is padded with spaces so that the
// first tensor starts at a multiple of 8. The file appears under its name only when it is whole and on the disk; on
// failure the old file stays as it was. Throws ArgumentError for names that repeat or are not UTF-8, and for tensors
// without values (undefined, meta); FileError, which starts with the path, when the file cannot be written.
void write_safetensors(const std::string& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace segrt
