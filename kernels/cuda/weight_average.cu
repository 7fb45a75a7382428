#include "kernels/cuda/weight_average.h"

#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/device.h"
#include "kernels/cuda/tensor_table.cuh"

namespace segrt::kernels::cuda {
namespace {

struct NoExtra {};
enum : int { kAverage, kValue, kPointers };
using Table = TensorTable<kPointers, NoExtra>;

// A block updates its part of one tensor, 4 elements an access. Reads both once, writes the average once.
__global__ void average_weights_kernel(Table table, int tensors, float share, const int32_t* skip) {
  if (skip != nullptr && *skip != 0) return;
  const TablePart part = table_part(table, tensors);
  float* average = static_cast<float*>(table.p[part.tensor][kAverage]);
  const float* value = static_cast<const float*>(table.p[part.tensor][kValue]);
  for_part(part, is_aligned(average) && is_aligned(value), [&]<int V>(int64_t i) {
    float mean[V], latest[V];
    load_floats<float, V>(average + i, mean);
    load_floats<float, V>(value + i, latest);
#pragma unroll
    for (int k = 0; k < V; ++k) mean[k] += share * (latest[k] - mean[k]);
    store_floats<float, V>(average + i, mean);
  });
}
}  // namespace

void average_weights(const std::vector<AveragedTensor>& tensors, float share, const Tensor& skip) {
  Device& device = tensors.front().average.device();
  const int32_t* skipped = skip.defined() ? skip.data<int32_t>() : nullptr;
  const auto run = [&](const Table& table, int count, int64_t blocks) {
    launch(device, average_weights_kernel, {.grid = blocks, .block = kTableThreads, .barrier_free = true}, table, count,
           share, skipped);
  };
  TableLauncher<kPointers, NoExtra, decltype(run)> launcher(run);
  for (const AveragedTensor& t : tensors) launcher.add({t.average.raw(), t.value.raw()}, t.average.numel(), {});
  launcher.flush();
}

}  // namespace segrt::kernels::cuda
