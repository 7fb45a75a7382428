#include "kernels/cuda/loss_scale.h"

#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {
namespace {

// One thread: six numbers are read and written.
__global__ void judge_gradients_kernel(LossScaleNumbers rule, LossScalePointers pointers) {
  judge_gradients_once(rule, pointers);
}
}  // namespace

void judge_gradients(Device& device, const LossScaleNumbers& rule, const LossScalePointers& pointers) {
  launch(device, judge_gradients_kernel, {.grid = 1, .block = 1, .barrier_free = true}, rule, pointers);
}

}  // namespace segrt::kernels::cuda
