// Along one axis, which taps of a convolution's kernel meet a pixel, and where they read: the arithmetic of stride,
// padding and dilation for all convolution kernels.
#pragma once

#include <numeric>
#include <string>

#include "core/error.h"
#include "kernels/cuda/divisor.h"

namespace segrt::kernels::cuda {

// Taps first, first + step, ... (count of them), of which tap number t reads source position + t * source_step.
struct TapLine {
  int first, step, count;
  int source, source_step;
};

// One axis of a convolution y[p] = sum_i x[p*stride - pad + i*dilation] w[i].
struct ConvAxis {
  int kernel, stride, pad, dilation;

  // The taps of output p; sources are positions in x.
  SEGRT_HOST_DEVICE TapLine forward_taps(int p) const { return {0, 1, kernel, p * stride - pad, dilation}; }
};

// The same axis for the input gradient dx[h] = sum of dy[p] w[i] over the (p, i) with p*stride - pad + i*dilation = h.
// Such i solve i*dilation = h + pad (mod stride): with g = gcd(stride, dilation) there are none unless g divides h +
// pad, and else every (stride/g)-th i, beginning at (h + pad)/g * (dilation/g)^-1 mod stride/g.
struct GradientAxis {
  ConvAxis axis;
  int common, period, inverse;  // g, stride/g, inverse of dilation/g modulo stride/g
  Divisor by_common, by_period;

  GradientAxis() = default;
  explicit GradientAxis(const ConvAxis& a) : axis(a) {
    constexpr int kMaxStride = 1 << 15;  // first and inverse multiply in 31 bits
    if (a.stride > kMaxStride)
      throw ArgumentError("conv2d on cuda: stride: expected at most 32768, got " + std::to_string(a.stride));
    common = std::gcd(a.stride, a.dilation);
    period = a.stride / common;
    inverse = 0;
    while (period > 1 && int64_t{a.dilation / common} * inverse % period != 1) ++inverse;
    by_common = Divisor(common);
    by_period = Divisor(period);
  }

  // The taps of input position h; sources are positions in dy. Positions h + m*stride have the same taps, with sources
  // m further on.
  SEGRT_HOST_DEVICE TapLine backward_taps(int h) const {
    const int sum = h + axis.pad, quotient = by_common(sum);
    if (quotient * common != sum) return {0, period, 0, 0, 0};
    const int turns = (quotient - by_period(quotient) * period) * inverse;
    const int first = turns - by_period(turns) * period;
    const int count = first < axis.kernel ? by_period(axis.kernel - first + period - 1) : 0;
    return {first, period, count, (sum - first * axis.dilation) / axis.stride, -(axis.dilation / common)};
  }
};

}  // namespace segrt::kernels::cuda
