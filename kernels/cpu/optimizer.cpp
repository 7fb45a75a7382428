#include "kernels/cpu/optimizer.h"

#include <cmath>

#include "core/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/learning_rate.h"

namespace segrt::kernels::cpu {
namespace {
// Of one tensor in one step.
struct Scalars {
  float rate, factor, weight_decay;
};

template <typename T>
void sgd_range(const SgdTensor& t, const SgdOptions& o, const Scalars& s, int64_t begin, int64_t end) {
  float *w = t.w.data<float>(), *m = t.momentum.data<float>();
  const T* dw = t.dw.data<T>();
  const float new_share = 1.0f - o.dampening;
  for (int64_t i = begin; i < end; ++i) {
    const float g = s.factor * static_cast<float>(dw[i]) + s.weight_decay * w[i];
    m[i] = o.momentum * m[i] + new_share * g;
    w[i] -= s.rate * (o.nesterov ? g + o.momentum * m[i] : m[i]);
  }
}

template <typename T>
void adam_range(const AdamTensor& t, const AdamFactors& f, const AdamCorrections& c, const Scalars& s, int64_t begin,
                int64_t end) {
  float *w = t.w.data<float>(), *m = t.m.data<float>(), *v = t.v.data<float>();
  const T* dw = t.dw.data<T>();
  const float coupled = f.decoupled_decay ? 0.0f : s.weight_decay;
  const float shrink = f.decoupled_decay ? 1.0f - s.rate * s.weight_decay : 1.0f;
  for (int64_t i = begin; i < end; ++i) {
    const float g = s.factor * static_cast<float>(dw[i]) + coupled * w[i];
    m[i] = f.beta1 * m[i] + f.new_m * g;
    v[i] = f.beta2 * v[i] + f.new_v * g * g;
    w[i] = shrink * w[i] - s.rate * (m[i] * c.m) / (std::sqrt(v[i]) * c.root_v + f.eps);
  }
}

// update.operator()<T>(tensor, scalars, begin, end) over ranges of every tensor, T the type of its gradient; then the
// rounded copy.
template <typename UpdateTensor, typename F>
void update_all(const std::vector<UpdateTensor>& tensors, const Tensor& lr, const Tensor& factor, const Tensor& skip,
                const F& update) {
  if (skip.defined() && skip.data<int32_t>()[0] != 0) return;
  const float rate = lr.data<float>()[0], scaled = factor.defined() ? factor.data<float>()[0] : 1.0f;
  for (const UpdateTensor& t : tensors) {
    const Scalars scalars{rate * t.lr_factor, scaled, t.weight_decay};
    dispatch_float(t.dw.dtype(), [&]<typename T>() {
      parallel_ranges(t.w.numel(), 16384, [&](int64_t begin, int64_t end) {
        update.template operator()<T>(t, scalars, begin, end);
        if (!t.copy.defined()) return;
        const float* w = t.w.template data<float>();
        T* copy = t.copy.template data<T>();
        for (int64_t i = begin; i < end; ++i) copy[i] = static_cast<T>(w[i]);
      });
    });
  }
}
}  // namespace

void compute_learning_rate(const LrSchedule& s, const Tensor& step, Tensor& lr) {
  lr.data<float>()[0] = static_cast<float>(scheduled_learning_rate(s, step.data<int64_t>()[0]));
}

void advance_step(Tensor& step, const Tensor& skip) {
  if (skip.defined() && skip.data<int32_t>()[0] != 0) return;
  ++step.data<int64_t>()[0];
}

void sgd_step(const std::vector<SgdTensor>& tensors, const SgdOptions& o, const Tensor& lr, const Tensor& factor,
              const Tensor& skip) {
  update_all(tensors, lr, factor, skip,
             [&]<typename T>(const SgdTensor& t, const Scalars& s, int64_t begin, int64_t end) {
               sgd_range<T>(t, o, s, begin, end);
             });
}

void adam_step(const std::vector<AdamTensor>& tensors, const AdamOptions& o, const Tensor& lr, const Tensor& updates,
               const Tensor& factor, const Tensor& skip) {
  const AdamCorrections corrections = adam_corrections(o.beta1, o.beta2, updates.data<int64_t>()[0]);
  const AdamFactors factors(o);
  update_all(tensors, lr, factor, skip,
             [&]<typename T>(const AdamTensor& t, const Scalars& s, int64_t begin, int64_t end) {
               adam_range<T>(t, factors, corrections, s, begin, end);
             });
}

void compute_clip(const Tensor& norm, double max_norm, Tensor& clip) {
  const float factor = static_cast<float>(max_norm) / (norm.data<float>()[0] + 1e-6f);
  clip.data<float>()[0] = factor > 1.0f ? 1.0f : factor;  // a NaN stays
}

}  // namespace segrt::kernels::cpu
