#include "kernels/cuda/optimizer.h"

#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/device.h"
#include "kernels/cuda/tensor_table.cuh"
#include "kernels/dispatch.h"
#include "kernels/learning_rate.h"

namespace segrt::kernels::cuda {
namespace {

// One thread, float64: the formula of the host.
__global__ void learning_rate_kernel(LrSchedule s, const int64_t* step, float* lr) {
  *lr = static_cast<float>(scheduled_learning_rate(s, *step));
}

__global__ void advance_step_kernel(int64_t* step) { *step += 1; }

__global__ void clip_kernel(const float* norm, float max_norm, float* clip) {
  const float factor = max_norm / (*norm + 1e-6f);
  *clip = factor > 1.0f ? 1.0f : factor;  // a NaN stays
}

struct SgdExtra {
  float lr_factor, weight_decay;
};
enum : int { kWeight, kGradient, kMomentum, kSgdPointers };
using SgdTable = TensorTable<kSgdPointers, SgdExtra>;

// A block updates its part of one tensor, 4 elements an access. Reads w, dw and the momentum once, writes w and the
// momentum once.
template <typename T>
__global__ void sgd_kernel(SgdTable table, int tensors, SgdOptions o, const float* lr, const float* clip) {
  const TablePart part = table_part(table, tensors);
  float* w = static_cast<float*>(table.p[part.tensor][kWeight]);
  const T* dw = static_cast<const T*>(table.p[part.tensor][kGradient]);
  float* m = static_cast<float*>(table.p[part.tensor][kMomentum]);
  const SgdExtra extra = table.extra[part.tensor];
  const float rate = *lr * extra.lr_factor, clipped = clip != nullptr ? *clip : 1.0f;
  const float new_share = 1.0f - o.dampening;
  for_part(part, is_aligned(w) && is_aligned(dw) && is_aligned(m), [&]<int V>(int64_t i) {
    float weight[V], gradient[V], velocity[V];
    load_floats<float, V>(w + i, weight);
    load_floats<T, V>(dw + i, gradient);
    load_floats<float, V>(m + i, velocity);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const float g = clipped * gradient[k] + extra.weight_decay * weight[k];
      velocity[k] = o.momentum * velocity[k] + new_share * g;
      weight[k] -= rate * (o.nesterov ? g + o.momentum * velocity[k] : velocity[k]);
    }
    store_floats<float, V>(m + i, velocity);
    store_floats<float, V>(w + i, weight);
  });
}
}  // namespace

void compute_learning_rate(const LrSchedule& s, const Tensor& step, Tensor& lr) {
  launch(step.device(), learning_rate_kernel, {.grid = 1, .block = 1, .barrier_free = true}, s, step.data<int64_t>(),
         lr.data<float>());
}

void advance_step(Tensor& step) {
  launch(step.device(), advance_step_kernel, {.grid = 1, .block = 1, .barrier_free = true}, step.data<int64_t>());
}

void sgd_step(const std::vector<SgdTensor>& tensors, const SgdOptions& o, const Tensor& lr, const Tensor& clip) {
  const float* clip_value = clip.defined() ? clip.data<float>() : nullptr;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    dispatch_float(dtype, [&]<typename T>() {
      const auto run = [&](const SgdTable& table, int count, int64_t blocks) {
        launch(lr.device(), sgd_kernel<T>, {.grid = blocks, .block = kTableThreads, .barrier_free = true}, table, count,
               o, lr.data<float>(), clip_value);
      };
      TableLauncher<kSgdPointers, SgdExtra, decltype(run)> launcher(run);
      for (const SgdTensor& t : tensors)
        if (t.dw.dtype() == dtype)
          launcher.add({t.w.raw(), t.dw.raw(), t.momentum.raw()}, t.w.numel(), {t.lr_factor, t.weight_decay});
      launcher.flush();
    });
}

void compute_clip(const Tensor& norm, double max_norm, Tensor& clip) {
  launch(norm.device(), clip_kernel, {.grid = 1, .block = 1, .barrier_free = true}, norm.data<float>(), max_norm,
         clip.data<float>());
}

}  // namespace segrt::kernels::cuda
