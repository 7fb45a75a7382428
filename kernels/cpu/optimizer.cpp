#include "kernels/cpu/optimizer.h"

#include <algorithm>

#include "core/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/learning_rate.h"

namespace segrt::kernels::cpu {
namespace {
struct SgdFactors {
  float lr, clip, weight_decay, momentum, new_share;  // new_share = 1 - dampening
};

template <typename T, bool kNesterov>
void update(float* w, const T* dw, float* m, int64_t n, const SgdFactors& f) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = f.clip * static_cast<float>(dw[i]) + f.weight_decay * w[i];
    const float velocity = f.momentum * m[i] + f.new_share * g;
    m[i] = velocity;
    w[i] -= f.lr * (kNesterov ? g + f.momentum * velocity : velocity);
  }
}
}  // namespace

void compute_learning_rate(const LrSchedule& s, const Tensor& step, Tensor& lr) {
  lr.data<float>()[0] = static_cast<float>(scheduled_learning_rate(s, step.data<int64_t>()[0]));
}

void advance_step(Tensor& step) { ++step.data<int64_t>()[0]; }

void sgd_step(const std::vector<SgdTensor>& tensors, const SgdOptions& o, const Tensor& lr, const Tensor& clip) {
  const float rate = lr.data<float>()[0], clipped = clip.defined() ? clip.data<float>()[0] : 1.0f;
  for (const SgdTensor& t : tensors) {
    const SgdFactors factors{rate * t.lr_factor, clipped, t.weight_decay, o.momentum, 1.0f - o.dampening};
    dispatch_float(t.dw.dtype(), [&]<typename T>() {
      parallel_ranges(t.w.numel(), 16384, [&](int64_t begin, int64_t end) {
        float *w = t.w.data<float>() + begin, *m = t.momentum.data<float>() + begin;
        const T* dw = t.dw.data<T>() + begin;
        o.nesterov ? update<T, true>(w, dw, m, end - begin, factors) : update<T, false>(w, dw, m, end - begin, factors);
      });
    });
  }
}

void compute_clip(const Tensor& norm, double max_norm, Tensor& clip) {
  const float factor = static_cast<float>(max_norm) / (norm.data<float>()[0] + 1e-6f);
  clip.data<float>()[0] = factor > 1.0f ? 1.0f : factor;  // a NaN stays
}

}  // namespace segrt::kernels::cpu
