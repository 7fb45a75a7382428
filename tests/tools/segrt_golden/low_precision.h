// Inference in a 16-bit type against files that a float32 reference made.
#pragma once

#include "tests/tools/segrt_golden/families.h"

namespace segrt::golden {

// Every stored map of the forward pass and the first training loss. A map's relative L2 error may be 2e-2; rounding
// adds up with depth, so where that is not enough it may be twice what a float32 run of the same network differs
// from the file when its weights and its input alone are rounded to `precision`, and never more than a quarter.
// Everything else in the file (later steps, gradients, counts of FLOPs) is left out, and the report says so.
void run_low_precision(GoldenFile& file, Device& device, DType precision, Report& report);

}  // namespace segrt::golden
