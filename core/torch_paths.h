// The tensors and plain values of a saved object by path: the keys and positions that lead there from the top, joined
// by
// '/': "state_dict/module.conv1.weight", "optimizer/state/0/momentum_buffer".
#pragma once

#include <string>
#include <vector>

#include "core/torch_archive.h"

namespace segrt {

struct TorchLeaf {
  std::string path;
  PickleValue value;
};

enum class TorchLeaves { tensors, scalars };

// In the order of the file; inert objects are left out. Throws FileError for an object that holds itself, and for one
// whose paths, through shared parts, are out of proportion to the pickle.
std::vector<TorchLeaf> leaves_of(const std::string& file, const TorchContents& contents, TorchLeaves which);

// Numbers, texts, booleans and null as a JSON object by path: {"epoch": 3, "best": 71.25}. Infinities, NaN and integers
// beyond 64 bits are texts there.
std::string scalars_json(const std::string& file, const TorchContents& contents);

}  // namespace segrt
