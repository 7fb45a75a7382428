#include "kernels/cuda/device.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/tensor_table.cuh"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

struct Nothing {};

// partial[block] = sum of squares of a block's part of one tensor.
template <typename T>
__global__ void squares_kernel(TensorTable<1, Nothing> table, int tensors, float* partial) {
  const TablePart part = table_part(table, tensors);
  const T* x = static_cast<const T*>(table.p[part.tensor][0]);
  float sum = 0.0f;
  for_part(part, is_aligned(x), [&]<int V>(int64_t i) {
    const Vec<T, V> v = load_vec<T, V>(x + i);
#pragma unroll
    for (int k = 0; k < V; ++k) sum += to_float(v[k]) * to_float(v[k]);
  });
  const float total = block_sum(sum);
  if (thread_index().x == 0) partial[block_index().x] = total;
}

constexpr int kNormThreads = 1024;

// One block, float64: the partial sums are few.
__global__ void root_kernel(const float* partial, int64_t n, float* out) {
  double sum = 0;
  for (int64_t i = thread_index().x; i < n; i += kNormThreads) sum += static_cast<double>(partial[i]);
  const double total = block_sum(sum);
  if (thread_index().x == 0) *out = static_cast<float>(sqrt(total));
}

// counts[index] += non-finite elements of a block's part. Integer additions: any order gives the same.
template <typename T>
__global__ void nonfinite_kernel(TensorTable<1, int> table, int tensors, int32_t* counts) {
  const TablePart part = table_part(table, tensors);
  const T* x = static_cast<const T*>(table.p[part.tensor][0]);
  int count = 0;
  for_part(part, is_aligned(x), [&]<int V>(int64_t i) {
    const Vec<T, V> v = load_vec<T, V>(x + i);
#pragma unroll
    for (int k = 0; k < V; ++k) count += is_finite(to_float(v[k])) ? 0 : 1;
  });
  const int total = block_sum(count);
  if (thread_index().x == 0 && total > 0) atomic_add(counts + table.extra[part.tensor], total);
}

template <typename F>
void for_each_dtype(const F& f) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    dispatch_float(dtype, [&]<typename T>() { f.template operator()<T>(dtype); });
}
}  // namespace

void global_norm(const std::vector<Tensor>& tensors, Tensor& out) {
  Device& device = out.device();
  int64_t blocks = 0;
  for (const Tensor& t : tensors) blocks += blocks_for(t.numel(), kTableElements);
  const Tensor partial = Tensor::empty({blocks}, DType::f32, device);
  float* next = partial.data<float>();
  for_each_dtype([&]<typename T>(DType dtype) {
    const auto run = [&](const TensorTable<1, Nothing>& table, int count, int64_t grid) {
      launch(device, squares_kernel<T>, {.grid = grid, .block = kTableThreads}, table, count, next);
      next += grid;
    };
    TableLauncher<1, Nothing, decltype(run)> launcher(run);
    for (const Tensor& t : tensors)
      if (t.dtype() == dtype) launcher.add({t.raw()}, t.numel(), {});
    launcher.flush();
  });
  launch(device, root_kernel, {.grid = 1, .block = kNormThreads}, partial.data<float>(), blocks, out.data<float>());
}

void count_nonfinite(const std::vector<Tensor>& tensors, Tensor& counts) {
  Device& device = counts.device();
  counts.fill_zero();
  for_each_dtype([&]<typename T>(DType dtype) {
    const auto run = [&](const TensorTable<1, int>& table, int count, int64_t grid) {
      launch(device, nonfinite_kernel<T>, {.grid = grid, .block = kTableThreads}, table, count, counts.data<int32_t>());
    };
    TableLauncher<1, int, decltype(run)> launcher(run);
    for (size_t i = 0; i < tensors.size(); ++i)
      if (tensors[i].dtype() == dtype) launcher.add({tensors[i].raw()}, tensors[i].numel(), static_cast<int>(i));
    launcher.flush();
  });
}

}  // namespace segrt::kernels::cuda
