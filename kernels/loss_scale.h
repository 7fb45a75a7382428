// Dynamic loss scaling, for gradients in f16: the loss is multiplied by a scale before the backward pass, so that small
// gradients do not become zero; the optimizer divides by it. A step with a gradient that overflowed is skipped and the
// scale lowered; after many good steps it is raised. All of it stays on the device.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

struct LossScaleRule {
  double growth = 2, backoff = 0.5;
  int64_t growth_interval = 2000;  // good steps in a row
};

// Each [1], on one device.
struct LossScaleState {
  Tensor scale;       // f32: of the next step's loss
  Tensor good_steps;  // i64: in a row since the scale changed
  Tensor skipped;     // i64: steps in all
  Tensor skip;        // i32: whether this step is to be skipped (0 or 1)
};

// Decides about a step from the norm of its scaled gradients (reduce.h: global_norm; not finite exactly where some
// gradient is not, or where squares of f32 gradients overflow), then moves on to the next scale. With s = scale:
//   skip = norm is not finite;  norm = norm / s;  factor = (max_norm > 0 ? min(1, max_norm / (norm + 1e-6)) : 1) / s
//   skip: scale = s * backoff, good_steps = 0, skipped += 1
//   else: good_steps += 1; at growth_interval: scale = s * growth unless that is infinite, good_steps = 0
// (PyTorch's GradScaler). norm, factor: f32 [1].
void judge_gradients(const LossScaleRule& rule, double max_norm, Tensor& norm, LossScaleState& state, Tensor& factor);

}  // namespace segrt::kernels
