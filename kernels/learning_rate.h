// The learning-rate formula of optimizer.h, written once for host and device.
#pragma once

#include <cmath>

#include "core/dtype.h"
#include "kernels/optimizer.h"

namespace segrt::kernels {

SEGRT_HOST_DEVICE inline double scheduled_learning_rate(const LrSchedule& s, int64_t step) {
  const int64_t unit = step / s.steps_per_unit;
  const double progress = static_cast<double>(unit < s.total ? unit : s.total) / static_cast<double>(s.total);
  double lr = s.base;
  switch (s.kind) {
    case LrSchedule::Kind::constant: break;
    case LrSchedule::Kind::step: lr *= std::pow(s.gamma, static_cast<double>(unit / s.step_size)); break;
    case LrSchedule::Kind::poly: lr *= std::pow(1.0 - progress, s.power); break;
    case LrSchedule::Kind::cosine: lr *= 0.5 * (1.0 + std::cos(3.14159265358979323846 * progress)); break;
  }
  if (lr < s.min_lr) lr = s.min_lr;
  if (step < s.warmup_steps) {
    const double share = static_cast<double>(step) / static_cast<double>(s.warmup_steps);
    lr *= s.warmup_factor * (1.0 - share) + share;
  }
  return lr;
}

}  // namespace segrt::kernels
