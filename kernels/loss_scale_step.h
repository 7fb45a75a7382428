// The decision of loss_scale.h, written once for host and device.
#pragma once

#include <cmath>

#include "core/dtype.h"
#include "kernels/loss_scale.h"

namespace segrt::kernels {

struct LossScaleNumbers {
  float growth, backoff, max_norm;
  int64_t growth_interval;
};
struct LossScalePointers {
  float *norm, *factor, *scale;
  int64_t *good_steps, *skipped;
  int32_t* skip;
};

inline LossScaleNumbers numbers_of(const LossScaleRule& rule, double max_norm) {
  return {static_cast<float>(rule.growth), static_cast<float>(rule.backoff), static_cast<float>(max_norm),
          rule.growth_interval};
}
inline LossScalePointers pointers_of(Tensor& norm, LossScaleState& state, Tensor& factor) {
  return {norm.data<float>(),
          factor.data<float>(),
          state.scale.data<float>(),
          state.good_steps.data<int64_t>(),
          state.skipped.data<int64_t>(),
          state.skip.data<int32_t>()};
}

SEGRT_HOST_DEVICE inline void judge_gradients_once(const LossScaleNumbers& rule, const LossScalePointers& p) {
  constexpr float kLargest = 3.402823466e38f;  // a comparison with NaN is false
  const float scale = *p.scale;
  const bool skip = !(*p.norm <= kLargest);
  const float norm = *p.norm / scale, share = rule.max_norm / (norm + 1e-6f);
  *p.norm = norm;
  *p.factor = (rule.max_norm > 0 && share < 1 ? share : 1.0f) / scale;
  *p.skip = skip ? 1 : 0;
  if (skip) {
    *p.scale = scale * rule.backoff;
    *p.good_steps = 0;
    ++*p.skipped;
  } else if (++*p.good_steps == rule.growth_interval) {
    if (scale * rule.growth <= kLargest) *p.scale = scale * rule.growth;
    *p.good_steps = 0;
  }
}

}  // namespace segrt::kernels
