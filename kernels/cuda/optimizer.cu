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

__global__ void advance_step_kernel(int64_t* step, const int32_t* skip) {
  if (skip == nullptr || *skip == 0) *step += 1;
}

__global__ void clip_kernel(const float* norm, float max_norm, float* clip) {
  const float factor = max_norm / (*norm + 1e-6f);
  *clip = factor > 1.0f ? 1.0f : factor;  // a NaN stays
}

// What a step's kernels read beside the tensors; null where there is none.
struct StepInputs {
  const float *lr, *factor;
  const int32_t* skip;

  StepInputs(const Tensor& rate, const Tensor& scale, const Tensor& skipped)
      : lr(rate.data<float>()),
        factor(scale.defined() ? scale.data<float>() : nullptr),
        skip(skipped.defined() ? skipped.data<int32_t>() : nullptr) {}
};

struct Extra {
  float lr_factor, weight_decay;
};

// Of one tensor in one step.
struct Scalars {
  float rate, factor, weight_decay;
};
SEGRT_DEVICE Scalars scalars_of(const StepInputs& inputs, const Extra& extra) {
  return {*inputs.lr * extra.lr_factor, inputs.factor != nullptr ? *inputs.factor : 1.0f, extra.weight_decay};
}
SEGRT_DEVICE bool skipped(const StepInputs& inputs) { return inputs.skip != nullptr && *inputs.skip != 0; }

enum : int { kWeight, kGradient, kCopy, kMomentum, kSgdPointers };
using SgdTable = TensorTable<kSgdPointers, Extra>;

// A block updates its part of one tensor, 4 elements an access. Reads w, dw and the momentum once, writes w, the
// momentum and, where there is one, the rounded copy of w once.
template <typename T>
__global__ void sgd_kernel(SgdTable table, int tensors, SgdOptions o, StepInputs inputs) {
  if (skipped(inputs)) return;
  const TablePart part = table_part(table, tensors);
  float* w = static_cast<float*>(table.p[part.tensor][kWeight]);
  const T* dw = static_cast<const T*>(table.p[part.tensor][kGradient]);
  T* copy = static_cast<T*>(table.p[part.tensor][kCopy]);
  float* m = static_cast<float*>(table.p[part.tensor][kMomentum]);
  const Scalars s = scalars_of(inputs, table.extra[part.tensor]);
  const float new_share = 1.0f - o.dampening;
  for_part(part, is_aligned(w) && is_aligned(dw) && is_aligned(copy) && is_aligned(m), [&]<int V>(int64_t i) {
    float weight[V], gradient[V], velocity[V];
    load_floats<float, V>(w + i, weight);
    load_floats<T, V>(dw + i, gradient);
    load_floats<float, V>(m + i, velocity);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const float g = s.factor * gradient[k] + s.weight_decay * weight[k];
      velocity[k] = o.momentum * velocity[k] + new_share * g;
      weight[k] -= s.rate * (o.nesterov ? g + o.momentum * velocity[k] : velocity[k]);
    }
    store_floats<float, V>(m + i, velocity);
    store_floats<float, V>(w + i, weight);
    if (copy != nullptr) store_floats<T, V>(copy + i, weight);
  });
}

// One thread, float64.
__global__ void adam_corrections_kernel(double beta1, double beta2, const int64_t* updates, AdamCorrections* out) {
  *out = adam_corrections(beta1, beta2, *updates);
}

enum : int { kFirstMoment = kMomentum, kSecondMoment, kAdamPointers };
using AdamTable = TensorTable<kAdamPointers, Extra>;

// As above, with two moments.
template <typename T>
__global__ void adam_kernel(AdamTable table, int tensors, AdamFactors f, StepInputs inputs,
                            const AdamCorrections* corrections) {
  if (skipped(inputs)) return;
  const TablePart part = table_part(table, tensors);
  float* w = static_cast<float*>(table.p[part.tensor][kWeight]);
  const T* dw = static_cast<const T*>(table.p[part.tensor][kGradient]);
  T* copy = static_cast<T*>(table.p[part.tensor][kCopy]);
  float* m = static_cast<float*>(table.p[part.tensor][kFirstMoment]);
  float* v = static_cast<float*>(table.p[part.tensor][kSecondMoment]);
  const Scalars s = scalars_of(inputs, table.extra[part.tensor]);
  const AdamCorrections c = *corrections;
  const float coupled = f.decoupled_decay ? 0.0f : s.weight_decay;
  const float shrink = f.decoupled_decay ? 1.0f - s.rate * s.weight_decay : 1.0f;
  const bool wide = is_aligned(w) && is_aligned(dw) && is_aligned(copy) && is_aligned(m) && is_aligned(v);
  for_part(part, wide, [&]<int V>(int64_t i) {
    float weight[V], gradient[V], first[V], second[V];
    load_floats<float, V>(w + i, weight);
    load_floats<T, V>(dw + i, gradient);
    load_floats<float, V>(m + i, first);
    load_floats<float, V>(v + i, second);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const float g = s.factor * gradient[k] + coupled * weight[k];
      first[k] = f.beta1 * first[k] + f.new_m * g;
      second[k] = f.beta2 * second[k] + f.new_v * g * g;
      weight[k] = shrink * weight[k] - s.rate * (first[k] * c.m) / (sqrtf(second[k]) * c.root_v + f.eps);
    }
    store_floats<float, V>(m + i, first);
    store_floats<float, V>(v + i, second);
    store_floats<float, V>(w + i, weight);
    if (copy != nullptr) store_floats<T, V>(copy + i, weight);
  });
}

// Calls run_typed.operator()<T>(table, count, blocks) for tables of all tensors whose gradient is of type T, for each
// T.
template <int kPointers, typename UpdateTensor, typename Run, typename Pointers>
void launch_updates(const std::vector<UpdateTensor>& tensors, const Run& run_typed, const Pointers& pointers) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    dispatch_float(dtype, [&]<typename T>() {
      const auto run = [&](const TensorTable<kPointers, Extra>& table, int count, int64_t blocks) {
        run_typed.template operator()<T>(table, count, blocks);
      };
      TableLauncher<kPointers, Extra, decltype(run)> launcher(run);
      for (const UpdateTensor& t : tensors)
        if (t.dw.dtype() == dtype) launcher.add(pointers(t), t.w.numel(), {t.lr_factor, t.weight_decay});
      launcher.flush();
    });
}

void* address_of(const Tensor& t) { return t.defined() ? t.raw() : nullptr; }
}  // namespace

void compute_learning_rate(const LrSchedule& s, const Tensor& step, Tensor& lr) {
  launch(step.device(), learning_rate_kernel, {.grid = 1, .block = 1, .barrier_free = true}, s, step.data<int64_t>(),
         lr.data<float>());
}

void advance_step(Tensor& step, const Tensor& skip) {
  launch(step.device(), advance_step_kernel, {.grid = 1, .block = 1, .barrier_free = true}, step.data<int64_t>(),
         skip.defined() ? skip.data<int32_t>() : nullptr);
}

void sgd_step(const std::vector<SgdTensor>& tensors, const SgdOptions& o, const Tensor& lr, const Tensor& factor,
              const Tensor& skip) {
  const StepInputs inputs(lr, factor, skip);
  launch_updates<kSgdPointers>(
      tensors,
      [&]<typename T>(const SgdTable& table, int count, int64_t blocks) {
        launch(lr.device(), sgd_kernel<T>, {.grid = blocks, .block = kTableThreads, .barrier_free = true}, table, count,
               o, inputs);
      },
      [](const SgdTensor& t) -> std::array<void*, kSgdPointers> {
        return {t.w.raw(), t.dw.raw(), address_of(t.copy), t.momentum.raw()};
      });
}

void adam_step(const std::vector<AdamTensor>& tensors, const AdamOptions& o, const Tensor& lr, const Tensor& updates,
               const Tensor& factor, const Tensor& skip) {
  const StepInputs inputs(lr, factor, skip);
  const Tensor corrections = Tensor::empty({2}, DType::f32, lr.device());
  auto* corrected = reinterpret_cast<AdamCorrections*>(corrections.data<float>());
  launch(lr.device(), adam_corrections_kernel, {.grid = 1, .block = 1, .barrier_free = true}, o.beta1, o.beta2,
         updates.data<int64_t>(), corrected);
  launch_updates<kAdamPointers>(
      tensors,
      [&]<typename T>(const AdamTable& table, int count, int64_t blocks) {
        launch(lr.device(), adam_kernel<T>, {.grid = blocks, .block = kTableThreads, .barrier_free = true}, table,
               count, AdamFactors(o), inputs, corrected);
      },
      [](const AdamTensor& t) -> std::array<void*, kAdamPointers> {
        return {t.w.raw(), t.dw.raw(), address_of(t.copy), t.m.raw(), t.v.raw()};
      });
}

void compute_clip(const Tensor& norm, double max_norm, Tensor& clip) {
  launch(norm.device(), clip_kernel, {.grid = 1, .block = 1, .barrier_free = true}, norm.data<float>(), max_norm,
         clip.data<float>());
}

}  // namespace segrt::kernels::cuda
