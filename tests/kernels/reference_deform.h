// Deformable unfolding by its definition in float64, on the host, a sample at a time: what the kernels are tested
// against. Shares nothing with them; a pixel outside of the map reads as 0.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/deform.h"

namespace segrt::test::reference {

struct Unfolding {
  Shape x;    // [N,H,W,C]
  Shape out;  // [N,P,Q]
  kernels::DeformGeometry g;
  std::vector<double> values, offset, mask;  // mask: empty for none

  int64_t taps() const { return int64_t{g.kernel_h} * g.kernel_w; }
  size_t pixel(int64_t n, int64_t y, int64_t x_, int64_t c) const {
    return static_cast<size_t>(((n * x[1] + y) * x[2] + x_) * x[3] + c);
  }
  bool has(int64_t y, int64_t x_) const { return y >= 0 && y < x[1] && x_ >= 0 && x_ < x[2]; }
  double at(int64_t n, int64_t y, int64_t x_, int64_t c) const { return has(y, x_) ? values[pixel(n, y, x_, c)] : 0.0; }
};

struct Unfolded {
  std::vector<double> columns, dx, doffset, dmask;  // columns [N,P,Q,K,C]
};

// The columns and, for the gradient d of the columns (empty: none), those of the inputs.
inline Unfolded unfold(const Unfolding& u, const std::vector<double>& d) {
  const int64_t taps = u.taps(), channels = u.x[3], groups = u.g.groups;
  const auto size = [](int64_t n) { return static_cast<size_t>(n); };
  Unfolded r;
  r.columns.resize(size(u.out.numel() * taps * channels));
  r.dx.resize(u.values.size());
  r.doffset.resize(u.offset.size());
  r.dmask.resize(u.mask.size());
  for (int64_t n = 0; n < u.out[0]; ++n)
    for (int64_t p = 0; p < u.out[1]; ++p)
      for (int64_t q = 0; q < u.out[2]; ++q)
        for (int64_t i = 0; i < u.g.kernel_h; ++i)
          for (int64_t j = 0; j < u.g.kernel_w; ++j)
            for (int64_t c = 0; c < channels; ++c) {
              const int64_t t = i * u.g.kernel_w + j, position = (n * u.out[1] + p) * u.out[2] + q;
              const int64_t group = c / (channels / groups), m = (position * groups + group) * taps + t;
              const size_t of_y = size(2 * m), of_x = size(2 * m + 1),
                           column = size((position * taps + t) * channels + c);
              const double py =
                  static_cast<double>(p * u.g.stride_h - u.g.pad_top + i * u.g.dilation_h) + u.offset[of_y];
              const double px =
                  static_cast<double>(q * u.g.stride_w - u.g.pad_left + j * u.g.dilation_w) + u.offset[of_x];
              if (py <= -1 || px <= -1 || py >= static_cast<double>(u.x[1]) || px >= static_cast<double>(u.x[2]))
                continue;
              const auto y0 = static_cast<int64_t>(std::floor(py)), x0 = static_cast<int64_t>(std::floor(px));
              const double ly = py - std::floor(py), lx = px - std::floor(px);
              const double v00 = u.at(n, y0, x0, c), v01 = u.at(n, y0, x0 + 1, c);
              const double v10 = u.at(n, y0 + 1, x0, c), v11 = u.at(n, y0 + 1, x0 + 1, c);
              const double scale = u.mask.empty() ? 1.0 : u.mask[size(m)];
              const double value =
                  (1 - ly) * (1 - lx) * v00 + (1 - ly) * lx * v01 + ly * (1 - lx) * v10 + ly * lx * v11;
              r.columns[column] = scale * value;
              if (d.empty()) continue;
              const double dv = d[column];
              const auto add = [&](int64_t y, int64_t x, double weight) {
                if (u.has(y, x)) r.dx[u.pixel(n, y, x, c)] += weight * dv * scale;
              };
              add(y0, x0, (1 - ly) * (1 - lx));
              add(y0, x0 + 1, (1 - ly) * lx);
              add(y0 + 1, x0, ly * (1 - lx));
              add(y0 + 1, x0 + 1, ly * lx);
              r.doffset[of_y] += dv * scale * (-(1 - lx) * v00 - lx * v01 + (1 - lx) * v10 + lx * v11);
              r.doffset[of_x] += dv * scale * (-(1 - ly) * v00 + (1 - ly) * v01 - ly * v10 + ly * v11);
              if (!u.mask.empty()) r.dmask[size(m)] += dv * value;
            }
  return r;
}

}  // namespace segrt::test::reference
