// Weights in and out of a module. Files hold upstream's names and layout (PyTorch: [out,in/groups,kh,kw]), so that
// weights go both ways between the two; four-dimensional parameters are permuted here, once.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/safetensors.h"
#include "core/weight_file.h"
#include "nn/module.h"

namespace segrt::nn {

// [O,kh,kw,I] <-> [O,I,kh,kw] for rank 4; other ranks are returned as they are. The result is on the CPU tensor's
// device.
Tensor to_upstream_layout(const Tensor& t);
Tensor from_upstream_layout(const Tensor& t);
Shape upstream_shape(const Shape& s);  // of to_upstream_layout(t) for t of shape s

// Every parameter and buffer of the module in state_dict order, in upstream layout, on `host` (a CPU device).
std::vector<NamedTensor> state_dict(Module& module, Device& host);

struct LoadOptions {
  // The name in the file of a tensor of the module; "" where it is not expected there. Default: the same name.
  std::function<std::string(const std::string&)> file_name = {};
  std::string prefix = {};  // before every name in the file ("model.")
  // Names in the file that need no counterpart in the module (optimizer state, another head); any other is an error.
  std::function<bool(const std::string&)> ignore = {};
  // Names of parameters that are left as initialised when the file's shape differs (a head with another number of
  // classes).
  std::function<bool(const std::string&)> may_mismatch = {};
  bool strict = true;
};
struct LoadReport {
  int64_t loaded = 0;
  std::vector<std::string> kept;  // left as initialised: not expected in the file, or a tolerated mismatch
  // What strict loading does not accept; names in the file, mis-shaped ones with both shapes.
  std::vector<std::string> missing, unexpected, misshaped;
  bool fits() const { return missing.empty() && unexpected.empty() && misshaped.empty(); }
  // "missing (2): a.weight, a.bias", a line each, the first dozen of the names; "" where everything fits.
  std::string differences() const;
};
// Copies the file's tensors into the module. Strict: throws FileError that lists missing, unexpected and mis-shaped
// tensors the way PyTorch users know it; the module is unchanged then. Not strict: what fits is loaded and the rest is
// in the report; FileError only where nothing fits. Optional buffers (num_batches_tracked) may be absent.
LoadReport load_state(Module& module, const WeightFile& file, const LoadOptions& options = {});

}  // namespace segrt::nn
