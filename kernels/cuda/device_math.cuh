// The functions that kernels/elementwise_formulas.h asks for, on a GPU.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/elementwise_formulas.h"

namespace segrt::kernels::cuda {

struct DeviceMath {
  SEGRT_DEVICE static float exp(float x) { return expf(x); }
  SEGRT_DEVICE static float expm1(float x) { return expm1f(x); }
  SEGRT_DEVICE static float tanh(float x) { return tanhf(x); }
  SEGRT_DEVICE static float erf(float x) { return erff(x); }
  SEGRT_DEVICE static float erfc(float x) { return erfcf(x); }
  SEGRT_DEVICE static float log(float x) { return logf(x); }
};

// What ends a convolution (ConvEpilogue).
SEGRT_DEVICE float conv_activation(float x, bool relu, bool silu) {
  if (silu) return unary_value<Unary::silu, DeviceMath>(x, 0.0f, 0.0f);
  return relu && x < 0.0f ? 0.0f : x;
}

}  // namespace segrt::kernels::cuda
