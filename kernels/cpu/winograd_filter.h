// Filters as a Winograd convolution multiplies by them.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels::cpu::winograd {

enum class Direction : uint8_t { forward, backward_input };

// G g G^T of every filter of w [O,3,3,C] (f32), packed for winograd_multiply.h: [36][outputs / P][channels][P] with
// P = kPanelVectors vectors. Forward: channels C, outputs O. Backward: the filters turned by 180 degrees, channels O,
// outputs C. Kept with the device while w does not change.
Tensor packed_filters(const Tensor& w, Direction direction);

}  // namespace segrt::kernels::cpu::winograd
