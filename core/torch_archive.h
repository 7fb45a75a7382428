// The two containers of PyTorch's checkpoints: a pickle of the object that was saved, and the elements of its storages.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "core/pickle_objects.h"

namespace segrt {

struct TorchContents {
  PickleObjects objects;
  PickleValue top;
  size_t pickle_bytes;
};

// torch.save since 1.6: a zip archive with <folder>/data.pkl, <folder>/data/<key>, and <folder>/byteorder since 2.1.
// Throws FileError. `file` must outlive the result.
TorchContents read_torch_zip(const std::string& path, std::span<const std::byte> file);

// torch.save before 1.6: pickles of a magic number, the protocol version (1001), the machine, the object and the list
// of storage keys; then each storage's number of elements (int64) and the elements, in the order of that list.
TorchContents read_torch_stream(const std::string& path, std::span<const std::byte> file);

}  // namespace segrt
