// PyTorch's checkpoint files (.pth, .pt): everything that torch.save writes of tensors in dicts, lists and tuples, from
// the streams of 2017 to the zip archives of today. Reading one runs nothing: see core/unpickler.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/mapped_file.h"
#include "core/pickle_objects.h"
#include "core/torch_types.h"
#include "core/weight_file.h"

namespace segrt {

// Every tensor under its path (core/torch_paths.h), strided and shared storages laid out in C order. bfloat16 is
// widened to float32 and int8 and int16 to int32; other types stay.
class TorchCheckpoint final : public WeightFile {
 public:
  // with_scalars: metadata()["scalars"] holds the plain values as JSON. Throws FileError, which names the file, the
  // place and the cause, for everything that is damaged, out of proportion or asks for code. Memory stays below a fixed
  // multiple of the file's size.
  explicit TorchCheckpoint(const std::string& path, bool with_scalars = false);
  // From memory, which must outlive this; `path` is for messages.
  TorchCheckpoint(const std::string& path, std::span<const std::byte> file, bool with_scalars);

  std::span<const std::byte> values(size_t index, std::vector<std::byte>& buffer) const override;

 private:
  struct Source {
    const TorchType* type;
    std::span<const std::byte> first;  // from the tensor's first element to the end of its storage
    std::vector<int64_t> strides;      // elements
    int64_t elements;
    bool is_contiguous;
  };
  void open(std::span<const std::byte> file, bool with_scalars);
  static Source source_of(const PickleObjects& objects, const PickleObjects::Tensor& tensor,
                          const std::vector<int64_t>& shape);

  std::optional<MappedFile> file_;
  std::vector<Source> sources_;  // of entries()
};

// Writes the tensors as torch.save does: a zip archive of an OrderedDict, which torch.load(path, weights_only=True)
// reads from 1.6 on. Atomic, like write_safetensors. Throws FileError for types that PyTorch's format of 1.6 has not
// (F8_E4M3, U16, ...). zip64_from: records and archives from this size on use 64-bit fields; other values are for
// tests.
void write_torch_checkpoint(const std::string& path, const WeightFile& weights, uint64_t zip64_from = 0xffffffff);

}  // namespace segrt
