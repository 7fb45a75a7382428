// Weight files as PyTorch wrote them in 2017, the form in which DRN's authors published theirs: a stream of protocol 2
// pickles (magic number, version, machine, the dictionary, storage keys), then every storage as a count and its bytes.
#pragma once

#include <span>
#include <string>

#include "core/safetensors.h"

namespace segrt::test {

struct LegacyStyle {
  bool python2 = false;     // keys are byte strings, and the dictionary is made from a list of pairs
  bool parameters = false;  // float tensors are Parameter objects
  std::string location = "cpu";
};

// An OrderedDict of `tensors` (f32 or i64, on a CPU), in their order, rebuilt by torch._utils._rebuild_tensor.
void write_legacy_checkpoint(const std::string& path, std::span<const NamedTensor> tensors, const LegacyStyle& style);

}  // namespace segrt::test
