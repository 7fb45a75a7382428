// The learning-rate formula of optimizer.h and Adam's scalars, written once for host and device.
#pragma once

#include <cmath>

#include "core/dtype.h"
#include "kernels/optimizer.h"

namespace segrt::kernels {

SEGRT_HOST_DEVICE inline double scheduled_learning_rate(const LrSchedule& s, int64_t step) {
  const int64_t units_done = step / s.steps_per_unit;
  const int64_t unit = units_done > s.lag ? units_done - s.lag : 0;
  if (unit < s.warmup_units)
    return s.warmup_lr + static_cast<double>(unit) * (s.base - s.warmup_lr) / static_cast<double>(s.warmup_units);
  const double progress = static_cast<double>(unit < s.total ? unit : s.total) / static_cast<double>(s.total);
  double lr = s.base;
  switch (s.kind) {
    case LrSchedule::Kind::constant: break;
    case LrSchedule::Kind::step: lr *= std::pow(s.gamma, static_cast<double>(unit / s.step_size)); break;
    case LrSchedule::Kind::poly: lr = s.end_lr + (lr - s.end_lr) * std::pow(1.0 - progress, s.power); break;
    case LrSchedule::Kind::cosine:
      lr = s.end_lr + (lr - s.end_lr) * 0.5 * (1.0 + std::cos(3.14159265358979323846 * progress));
      break;
  }
  if (lr < s.min_lr) lr = s.min_lr;
  if (step < s.warmup_steps) {
    const double share = static_cast<double>(step) / static_cast<double>(s.warmup_steps);
    lr *= s.warmup_factor * (1.0 - share) + share;
  }
  return lr;
}

// Adam's bias corrections at update k = updates + 1: of m, and of the root of v. In float64: 1 - 0.999 in float32 is
// off by 5e-5.
struct AdamCorrections {
  float m, root_v;  // 1 / (1 - beta1^k), 1 / sqrt(1 - beta2^k)
};
SEGRT_HOST_DEVICE inline AdamCorrections adam_corrections(double beta1, double beta2, int64_t updates) {
  const double k = static_cast<double>(updates + 1);
  return {static_cast<float>(1.0 / (1.0 - std::pow(beta1, k))),
          static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(beta2, k)))};
}

// The constants of one Adam update, rounded once.
struct AdamFactors {
  float beta1, new_m, beta2, new_v, eps;  // new_m = 1 - beta1
  bool decoupled_decay;

  explicit AdamFactors(const AdamOptions& o)
      : beta1(static_cast<float>(o.beta1)),
        new_m(static_cast<float>(1 - o.beta1)),
        beta2(static_cast<float>(o.beta2)),
        new_v(static_cast<float>(1 - o.beta2)),
        eps(static_cast<float>(o.eps)),
        decoupled_decay(o.decoupled_decay) {}
};

}  // namespace segrt::kernels
