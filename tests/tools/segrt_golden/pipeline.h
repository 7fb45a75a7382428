// A golden file of the 8-bit training pipeline of DABNet: each step with given draws, scores, filled polygons.
#pragma once

#include "tests/tools/segrt_golden/golden_file.h"
#include "tests/tools/segrt_golden/report.h"

namespace segrt::golden {

// The reference is OpenCV's 8-bit arithmetic, and every value must be equal, but for normalisation (a division here, a
// product there) and scores (stored in float32). Normalisation and counting run on `device`.
void run_pipeline(GoldenFile& file, Device& device, Report& report);

}  // namespace segrt::golden
