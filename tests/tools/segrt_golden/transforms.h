// A golden file of data transforms, each on recorded draws.
#pragma once

#include "tests/tools/segrt_golden/golden_file.h"
#include "tests/tools/segrt_golden/report.h"

namespace segrt::golden {

// Every value must be equal: the reference is Pillow's 8-bit arithmetic, and float maps are sums in double. Device
// kernels that do the same (normalisation, resampling) run on `device`; their float results may differ by rounding.
void run_transforms(GoldenFile& file, Device& device, Report& report);

}  // namespace segrt::golden
