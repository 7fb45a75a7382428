#include "core/torch_checkpoint.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/torch_paths.h"

namespace segrt {
namespace {
static_assert(std::endian::native == std::endian::little, "checkpoints are little-endian, and read in place");

// One element as it lies in the file -> as it is handed on.
void copy_element(const TorchType& type, const std::byte* from, std::byte* to) {
  if (type.dtype == "BF16") {
    uint16_t upper = 0;
    std::memcpy(&upper, from, sizeof upper);
    const uint32_t bits = uint32_t{upper} << 16;  // exact, NaN payloads included
    std::memcpy(to, &bits, sizeof bits);
  } else if (type.dtype == "I16") {
    int16_t value = 0;
    std::memcpy(&value, from, sizeof value);
    const int32_t wide = value;
    std::memcpy(to, &wide, sizeof wide);
  } else if (type.dtype == "I8") {
    int8_t value = 0;
    std::memcpy(&value, from, sizeof value);
    const int32_t wide = value;
    std::memcpy(to, &wide, sizeof wide);
  } else {
    std::memcpy(to, from, type.size);
  }
}
}  // namespace

TorchCheckpoint::TorchCheckpoint(const std::string& path, bool with_scalars) : WeightFile(path), file_(path) {
  open(file_->bytes(), with_scalars);
}

TorchCheckpoint::TorchCheckpoint(const std::string& path, std::span<const std::byte> file, bool with_scalars)
    : WeightFile(path) {
  open(file, with_scalars);
}

void TorchCheckpoint::open(std::span<const std::byte> file, bool with_scalars) {
  const bool is_zip = file.size() >= 2 && file[0] == std::byte{'P'} && file[1] == std::byte{'K'};
  const TorchContents contents = is_zip ? read_torch_zip(path(), file) : read_torch_stream(path(), file);
  // Expanded and shared storages unfold when they are read. Weights do so by small factors; a bomb by large ones.
  const uint64_t limit = 16 * uint64_t{file.size()} + (uint64_t{1} << 20);
  uint64_t nbytes = 0;
  std::vector<WeightEntry> entries;
  each_tensor(path(), contents, [&](const std::string& name, const PickleObjects::Tensor& tensor) {
    std::vector<int64_t> shape = contents.objects.extents(tensor.sizes);
    const Source source = source_of(contents.objects, tensor, shape);
    if (static_cast<uint64_t>(source.elements) > (limit - nbytes) / source.type->read_size)
      throw FileError(fmt::format("{}: oversize: with tensor {} of {} elements its tensors take more than {} bytes",
                                  path(), shown_text(name), source.elements, limit));
    nbytes += static_cast<uint64_t>(source.elements) * source.type->read_size;
    entries.push_back({.name = name, .dtype = std::string(source.type->read_as), .shape = std::move(shape)});
    sources_.push_back(source);
  });
  std::map<std::string, std::string> metadata;
  if (with_scalars) metadata["scalars"] = scalars_json(path(), contents);
  set_contents(std::move(entries), std::move(metadata));
}

TorchCheckpoint::Source TorchCheckpoint::source_of(const PickleObjects& objects, const PickleObjects::Tensor& tensor,
                                                   const std::vector<int64_t>& shape) {
  const PickleObjects::Storage& storage = objects.storages[tensor.storage];
  const PickleObjects::Root& root = objects.roots[storage.root];
  Source source{
      .type = root.type, .first = {}, .strides = objects.extents(tensor.strides), .elements = 1, .is_contiguous = true};
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] <= 1)
      source.strides[i] = 0;  // never used, and may be anything
    else
      source.is_contiguous = source.is_contiguous && source.strides[i] == source.elements;
    source.elements *= shape[i];  // checked by the unpickler
  }
  if (source.elements != 0)
    source.first = root.data.subspan(static_cast<size_t>(storage.offset + tensor.offset) * root.type->size);
  return source;
}

std::span<const std::byte> TorchCheckpoint::values(size_t index, std::vector<std::byte>& buffer) const {
  const Source& s = sources_[index];
  const std::vector<int64_t>& shape = entries()[index].shape;
  if (s.elements == 0) return {};
  const size_t count = static_cast<size_t>(s.elements);
  if (s.is_contiguous && s.type->dtype == s.type->read_as) return s.first.first(count * s.type->size);
  buffer.resize(count * s.type->read_size);
  std::vector<int64_t> at(shape.size(), 0);
  int64_t offset = 0;  // of the element at `at`, from the first
  std::byte* to = buffer.data();
  for (size_t n = 0; n < count; ++n, to += s.type->read_size) {
    copy_element(*s.type, s.first.data() + static_cast<size_t>(offset) * s.type->size, to);
    for (size_t d = shape.size(); d-- > 0;) {
      offset += s.strides[d];
      if (++at[d] < shape[d]) break;
      offset -= s.strides[d] * shape[d];
      at[d] = 0;
    }
  }
  return buffer;
}

}  // namespace segrt
