// Parameter updates for all tensors in one launch, with the learning rate computed on the device from a step counter
// there, so that a captured training step needs nothing from the host.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace segrt::kernels {

// lr(step) = base * factor(unit), unit = step / steps_per_unit (integer division: 1 for per-iteration schedules,
// iterations per epoch for per-epoch ones), total in units:
//   constant 1;  step gamma^(unit / step_size);  poly (1 - unit/total)^power;  cosine (1 + cos(pi unit/total)) / 2
// then lr = max(lr, min_lr). While step < warmup_steps the result is multiplied by
//   warmup_factor * (1 - step/warmup_steps) + step/warmup_steps.
// unit is clamped to total for poly and cosine.
struct LrSchedule {
  enum class Kind : uint8_t { constant, step, poly, cosine };
  Kind kind = Kind::constant;
  double base = 0.01;
  double power = 0.9;     // poly
  double gamma = 0.1;     // step
  int64_t step_size = 1;  // step, in units
  int64_t total = 1;      // poly and cosine, in units
  int64_t steps_per_unit = 1;
  double min_lr = 0;
  int64_t warmup_steps = 0;
  double warmup_factor = 0;
};
double learning_rate(const LrSchedule& s, int64_t step);  // the formula, on the host, in double
// lr [1] f32 = learning_rate(s, step[0]); step i64 [1].
void compute_learning_rate(const LrSchedule& s, const Tensor& step, Tensor& lr);
void advance_step(Tensor& step);  // step[0] += 1

// One parameter with its optimizer state. All on one device; w, momentum f32; dw f32, bf16 or f16.
struct SgdTensor {
  Tensor w, dw, momentum;
  float lr_factor = 1;
  float weight_decay = 0;
};
struct SgdOptions {
  float momentum = 0.9f;
  float dampening = 0;
  bool nesterov = false;
};
// g = clip * dw + weight_decay * w;  m = momentum * m + (1 - dampening) * g;  w -= lr * lr_factor * (nesterov ? g +
// momentum*m : m) (PyTorch's SGD; m starts at zero, which equals its first step when dampening is 0). lr f32 [1]; clip
// f32 [1] or undefined (1). Bumps the version of every w.
void sgd_step(std::vector<SgdTensor>& tensors, const SgdOptions& o, const Tensor& lr, const Tensor& clip);

// clip [1] f32 = min(1, max_norm / (norm[0] + 1e-6)), norm from reduce.h: global_norm (PyTorch's clip_grad_norm_).
void compute_clip(const Tensor& norm, double max_norm, Tensor& clip);

}  // namespace segrt::kernels
