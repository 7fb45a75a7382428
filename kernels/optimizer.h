// Parameter updates for all tensors in one launch, with the learning rate computed on the device from a step counter
// there, so that a captured training step needs nothing from the host.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace segrt::kernels {

// lr(step) = (base - end_lr) * factor(unit) + end_lr, unit = step / steps_per_unit (integer division: 1 for
// per-iteration schedules, iterations per epoch for per-epoch ones), total in units:
//   constant 1;  step gamma^(unit / step_size);  poly (1 - unit/total)^power;  cosine (1 + cos(pi unit/total)) / 2
// then lr = max(lr, min_lr). While step < warmup_steps the result is multiplied by
//   warmup_factor * (1 - step/warmup_steps) + step/warmup_steps.
// Warm-up of another form goes by units: while unit < warmup_units the result, all of the above aside, is
//   warmup_lr + unit * (base - warmup_lr) / warmup_units.
// With lag, unit is max(step / steps_per_unit - lag, 0) throughout: 1 where a scheduler is told at the end of unit e
// that unit e is over, so that units 0 and 1 both run at its value for 0.
// unit is clamped to total for poly and cosine; end_lr is theirs alone and ignored by the others.
struct LrSchedule {
  enum class Kind : uint8_t { constant, step, poly, cosine };
  Kind kind = Kind::constant;
  double base = 0.01;
  double power = 0.9;     // poly
  double gamma = 0.1;     // step
  int64_t step_size = 1;  // step, in units
  int64_t total = 1;      // poly and cosine, in units
  int64_t steps_per_unit = 1;
  double end_lr = 0;  // poly and cosine: where they lead; mmcv calls it min_lr
  double min_lr = 0;  // never less, but for warm-up
  int64_t warmup_steps = 0;
  double warmup_factor = 0;
  int64_t warmup_units = 0;
  double warmup_lr = 0;
  int64_t lag = 0;
};
double learning_rate(const LrSchedule& s, int64_t step);  // the formula, on the host, in double
// lr [1] f32 = learning_rate(s, step[0]); step i64 [1].
void compute_learning_rate(const LrSchedule& s, const Tensor& step, Tensor& lr);
// step[0] += 1, unless skip[0] != 0; skip i32 [1] or undefined.
void advance_step(Tensor& step, const Tensor& skip = {});

// One parameter with its optimizer state. All on one device; w and state f32; dw f32, bf16 or f16; copy: a tensor of
// dw's type that gets the new w, rounded, or undefined (bf16 or f16: what the next step computes with).
struct SgdTensor {
  Tensor w, dw, momentum;
  float lr_factor = 1;
  float weight_decay = 0;
  Tensor copy = {};
};
struct SgdOptions {
  float momentum = 0.9f;
  float dampening = 0;
  bool nesterov = false;
};
// g = factor * dw + weight_decay * w;  m = momentum * m + (1 - dampening) * g;  w -= lr * lr_factor * (nesterov ? g +
// momentum*m : m) (PyTorch's SGD; m starts at zero, which equals its first step when dampening is 0). lr f32 [1];
// factor f32 [1] (clipping, loss scale) or undefined (1); skip i32 [1] or undefined: where it is not 0, nothing
// changes. Bumps the version of every w and copy.
void sgd_step(std::vector<SgdTensor>& tensors, const SgdOptions& o, const Tensor& lr, const Tensor& factor,
              const Tensor& skip = {});

struct AdamTensor {
  Tensor w, dw, m, v;
  float lr_factor = 1;
  float weight_decay = 0;
  Tensor copy = {};
};
struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  bool decoupled_decay = false;  // AdamW
};
// Adam (Kingma & Ba 2015) or, with decoupled_decay, AdamW (Loshchilov & Hutter 2019) as in PyTorch; rate = lr *
// lr_factor, k = updates[0] + 1, updates i64 [1] the number of updates before this one:
//   g = factor * dw + weight_decay * w      (decoupled: w -= rate * weight_decay * w first, and g = factor * dw)
//   m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g^2
//   w -= rate * (m / (1 - beta1^k)) / (sqrt(v) / sqrt(1 - beta2^k) + eps)
// lr, factor and skip as above; updates is not advanced. Bumps the version of every w and copy.
void adam_step(std::vector<AdamTensor>& tensors, const AdamOptions& o, const Tensor& lr, const Tensor& updates,
               const Tensor& factor, const Tensor& skip = {});

// clip [1] f32 = min(1, max_norm / (norm[0] + 1e-6)), norm from reduce.h: global_norm (PyTorch's clip_grad_norm_).
void compute_clip(const Tensor& norm, double max_norm, Tensor& clip);

}  // namespace segrt::kernels
