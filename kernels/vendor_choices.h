// Who computes what on a GPU, for people: each problem that was offered to a vendor library, and what was decided.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/device.h"

namespace segrt::kernels {

struct VendorChoice {
  std::string library;             // "cuDNN", "cuBLASLt"
  std::string problem;             // all that decides a plan
  std::string engine;              // of the library, with its settings; empty: what there is without it, our own kernel
  double plan_ms = 0, own_ms = 0;  // medians of the best plan and of what there is without; 0: not measured
  size_t workspace_bytes = 0;
};

// Of this device so far. Empty in a build without such libraries.
std::vector<VendorChoice> vendor_choices(Device& device);

}  // namespace segrt::kernels
