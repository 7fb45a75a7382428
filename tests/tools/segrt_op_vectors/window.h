// The sliding windows of convolutions and pools: strides, dilations and padding, one axis at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/tools/segrt_op_vectors/case.h"
#include "tests/tools/segrt_op_vectors/layout.h"

namespace segrt::op_vectors {

struct Window {
  int kernel = 1, stride = 1, dilation = 1;
  int pad_begin = 0, pad_end = 0;
};

// From kernel (one extent an axis) and the attributes strides, dilations and pads. Throws Malformed where a list has
// another length than the kernel or a number that no window can have.
std::vector<Window> read_windows(const Case& c, const Dims& kernel);

// The padding that auto_pad asks for, in place of pads: VALID none; SAME_UPPER and SAME_LOWER so much that the output
// has ceil(in / stride) positions, an odd one at the end or at the beginning.
void resolve_auto_pad(const Case& c, const Dims& sizes, std::vector<Window>& windows);

}  // namespace segrt::op_vectors
