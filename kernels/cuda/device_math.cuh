// The functions that kernels/elementwise_formulas.h asks for, on a GPU.
#pragma once

#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {

struct DeviceMath {
  SEGRT_DEVICE static float exp(float x) { return expf(x); }
  SEGRT_DEVICE static float expm1(float x) { return expm1f(x); }
  SEGRT_DEVICE static float tanh(float x) { return tanhf(x); }
  SEGRT_DEVICE static float erf(float x) { return erff(x); }
  SEGRT_DEVICE static float erfc(float x) { return erfcf(x); }
  SEGRT_DEVICE static float log(float x) { return logf(x); }
};

}  // namespace segrt::kernels::cuda
