// The safetensors format: named tensors in one file, readable without copying.
//   8 bytes   N, little-endian
//   N bytes   JSON: {"__metadata__": {"k": "v"}, "name": {"dtype": "F32", "shape": [2,3], "data_offsets": [0,24]}, ...}
//   the rest  the tensors' bytes; offsets count from here, every byte belongs to exactly one tensor
// Specification: github.com/huggingface/safetensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/mapped_file.h"
#include "core/tensor.h"
#include "core/weight_file.h"

namespace segrt {

using SafetensorsEntry = WeightEntry;  // with its byte range in the file

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

// Bits that the tensor's values take. Throws FileError, starting with `where`, for an unknown dtype and for an
// overflow.
uint64_t safetensors_bits(const WeightEntry& entry, const std::string& where);

class SafetensorsFile final : public WeightFile {
 public:
  explicit SafetensorsFile(const std::string& path);  // throws FileError

  // The tensor's bytes in the file: little-endian, of no particular alignment. Valid while this object lives.
  std::span<const std::byte> bytes(std::string_view name) const;
  std::span<const std::byte> values(size_t index, std::vector<std::byte>& buffer) const override;

 private:
  MappedFile file_;
};

std::string_view safetensors_name(DType dtype);                    // "F32"
std::optional<DType> dtype_of_safetensors(std::string_view name);  // none where the runtime has no such dtype

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
// The same for every tensor of another file, of any dtype that the format has; one tensor at a time is in memory.
void write_safetensors(const std::string& path, const WeightFile& weights,
                       const std::map<std::string, std::string>& metadata);

}  // namespace segrt
