// Convolution and matrix products by their definitions in float64, on the host: what the kernels are tested against.
// Written straight from the formulas of kernels/conv.h (loops over every output and tap), sharing nothing with them.
#pragma once

#include <cstdint>
#include <vector>

#include "core/shape.h"
#include "kernels/conv.h"

namespace segrt::test::reference {

using Values = std::vector<double>;

// Calls f(x index, w index, y index) for every product that the convolution sums.
template <typename F>
void for_each_product(const Shape& x, const Shape& w, const Shape& y, const kernels::ConvGeometry& g, const F& f) {
  const int64_t group_outputs = w[0] / g.groups;
  for (int64_t n = 0; n < y[0]; ++n)
    for (int64_t p = 0; p < y[1]; ++p)
      for (int64_t q = 0; q < y[2]; ++q)
        for (int64_t o = 0; o < y[3]; ++o)
          for (int64_t i = 0; i < w[1]; ++i)
            for (int64_t j = 0; j < w[2]; ++j) {
              const int64_t h = p * g.stride_h - g.pad_top + i * g.dilation_h;
              const int64_t v = q * g.stride_w - g.pad_left + j * g.dilation_w;
              if (h < 0 || h >= x[1] || v < 0 || v >= x[2]) continue;
              for (int64_t c = 0; c < w[3]; ++c)
                f(static_cast<size_t>(((n * x[1] + h) * x[2] + v) * x[3] + o / group_outputs * w[3] + c),
                  static_cast<size_t>(((o * w[1] + i) * w[2] + j) * w[3] + c),
                  static_cast<size_t>(((n * y[1] + p) * y[2] + q) * y[3] + o));
            }
}

struct Operands {
  Shape x, w, y;
  kernels::ConvGeometry g;
};

inline Values conv_forward(const Operands& s, const Values& x, const Values& w) {
  Values y(static_cast<size_t>(s.y.numel()));
  for_each_product(s.x, s.w, s.y, s.g, [&](size_t xi, size_t wi, size_t yi) { y[yi] += x[xi] * w[wi]; });
  return y;
}

inline Values conv_backward_input(const Operands& s, const Values& dy, const Values& w) {
  Values dx(static_cast<size_t>(s.x.numel()));
  for_each_product(s.x, s.w, s.y, s.g, [&](size_t xi, size_t wi, size_t yi) { dx[xi] += dy[yi] * w[wi]; });
  return dx;
}

inline Values conv_backward_weight(const Operands& s, const Values& x, const Values& dy) {
  Values dw(static_cast<size_t>(s.w.numel()));
  for_each_product(s.x, s.w, s.y, s.g, [&](size_t xi, size_t wi, size_t yi) { dw[wi] += dy[yi] * x[xi]; });
  return dw;
}

}  // namespace segrt::test::reference
