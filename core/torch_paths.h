// The tensors and plain values of a saved object by path: the keys and positions that lead there from the top, joined
// by
// '/': "state_dict/module.conv1.weight", "optimizer/state/0/momentum_buffer".
#pragma once

#include <functional>
#include <string>

#include "core/torch_archive.h"

namespace segrt {

// Calls `found` for every tensor in the order of the file. Throws FileError for an object that holds itself, and for
// one that unfolds, through shared parts, out of proportion to the pickle.
void each_tensor(const std::string& file, const TorchContents& contents,
                 const std::function<void(const std::string& path, const PickleObjects::Tensor& tensor)>& found);

// Numbers, texts, booleans and null as a JSON object by path: {"epoch": 3, "best": 71.25}. Infinities, NaN and integers
// beyond 64 bits are texts there; inert objects are left out. Throws as each_tensor, and for more than 64 MiB of it.
std::string scalars_json(const std::string& file, const TorchContents& contents);

}  // namespace segrt
