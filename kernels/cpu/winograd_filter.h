// Filters as a Winograd convolution multiplies by them.
#pragma once

#include "core/tensor.h"
#include "kernels/cpu/vector_math.h"

namespace segrt::kernels::cpu::winograd {

enum class Direction : uint8_t { forward, backward_input };

// Elements from one of the 36 points of packed filters to the next: a few lines more than the data, because at a power
// of two all points would share the same few cache sets.
inline int64_t filter_point_stride(int64_t channels, int64_t outputs) { return channels * outputs + 5 * kLanes<float>; }

// G g G^T of every filter of w [O,3,3,C] (f32), packed for winograd_multiply.h: [36][outputs / P][channels][P] with
// P = kPanelVectors vectors. Forward: channels C, outputs O. Backward: the filters turned by 180 degrees, channels O,
// outputs C. Kept with the device while w does not change.
Tensor packed_filters(const Tensor& w, Direction direction);

}  // namespace segrt::kernels::cpu::winograd
