// How matrix products and convolutions of float32 tensors multiply on a GPU; kept with the device:
//   device.state<MathMode>().tf32 = true;
#pragma once

namespace segrt::kernels {

struct MathMode {
  // Round float32 operands to TF32 (10-bit mantissa, relative error up to 2^-11 an operand) and use tensor cores; sums
  // stay float32. Off: every product is exact to float32. Other types and depthwise convolutions are not affected.
  bool tf32 = false;
};

}  // namespace segrt::kernels
