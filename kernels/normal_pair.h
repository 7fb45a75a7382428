// Two normal numbers from two random words (Box & Muller 1958), written once for host and device.
#pragma once

#include <cmath>

#include "core/random.h"

namespace segrt::kernels {

struct NormalPair {
  float first, second;
};
// The radius is at most sqrt(2 * 24 * log 2) = 5.8.
SEGRT_HOST_DEVICE inline NormalPair normal_pair(uint32_t a, uint32_t b) {
  const float radius = std::sqrt(-2.0f * std::log(uniform_from(a) + 0x1p-24f));
  const float angle = 6.28318530717958647692f * uniform_from(b);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

}  // namespace segrt::kernels
