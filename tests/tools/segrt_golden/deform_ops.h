// Files of DGMN2's deformable operators alone: metadata `op` "deform_unfold", "deform_conv ..." or "modulated deform
// conv pack ...".
#pragma once

#include "tests/tools/segrt_golden/golden_file.h"
#include "tests/tools/segrt_golden/report.h"

namespace segrt::golden {

bool holds_deform_op(GoldenFile& file);
void run_deform_op(GoldenFile& file, Device& device, Report& report);

}  // namespace segrt::golden
