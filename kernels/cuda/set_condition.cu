#include "kernels/cuda/set_condition.h"

#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {
namespace {
__global__ void set_condition_kernel(const int32_t* flag, GraphCondition handle) {
  if (global_index() > 0) return;  // one thread: concurrent calls for a handle are undefined
  set_graph_condition(handle, *flag != 0);
}
}  // namespace

void set_condition(Device& device, const int32_t* flag, cudaGraphConditionalHandle handle) {
  launch(device, set_condition_kernel, {.grid = 1, .block = 1, .barrier_free = true}, flag, handle);
}

}  // namespace segrt::kernels::cuda
