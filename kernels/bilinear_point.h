// A point of a map at which deformable operators sample it: bilinear between four pixels, zero outside the map, fading
// out over the last pixel (Dai et al. 2017, arXiv:1703.06211). Written once for CPU and CUDA; A is float or double.
#pragma once

#include <cmath>

#include "core/dtype.h"

namespace segrt::kernels {

template <typename A>
struct BilinearPoint {
  bool inside;  // -1 < py < height and -1 < px < width; else the sample is 0 and passes no gradient on
  int y, x;     // the pixel above and to the left; -1 where that lies outside the map
  A ly, lx;     // how far the point is from it, in [0,1)

  SEGRT_HOST_DEVICE static BilinearPoint at(A py, A px, int height, int width) {
    if (!(py > A{-1} && px > A{-1} && py < static_cast<A>(height) && px < static_cast<A>(width)))  // also for NaN
      return {false, 0, 0, A{0}, A{0}};
    const A y = std::floor(py), x = std::floor(px);
    return {true, static_cast<int>(y), static_cast<int>(x), py - y, px - x};
  }

  // Corner k = 0..3 is the pixel (y + k / 2, x + k % 2).
  SEGRT_HOST_DEVICE bool has(int k, int height, int width) const {
    const int row = y + k / 2, column = x + k % 2;
    return inside && row >= 0 && column >= 0 && row < height && column < width;
  }
  SEGRT_HOST_DEVICE A weight(int k) const { return (k / 2 == 0 ? 1 - ly : ly) * (k % 2 == 0 ? 1 - lx : lx); }
  // Derivatives of weight(k) along py and px: at a pixel, those to its right.
  SEGRT_HOST_DEVICE A slope_y(int k) const { return (k / 2 == 0 ? A{-1} : A{1}) * (k % 2 == 0 ? 1 - lx : lx); }
  SEGRT_HOST_DEVICE A slope_x(int k) const { return (k / 2 == 0 ? 1 - ly : ly) * (k % 2 == 0 ? A{-1} : A{1}); }
};

}  // namespace segrt::kernels
