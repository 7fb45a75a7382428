// Index arithmetic of pooling along one axis, the same on every device.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "kernels/pool.h"

namespace segrt::kernels {

struct PoolAxis {
  int in, out, kernel, stride, pad_begin, pad_end, dilation;

  // Input position of tap k of window p; outside [0, in): padding.
  SEGRT_HOST_DEVICE int position(int p, int k) const { return p * stride - pad_begin + k * dilation; }
  // First and one past the last window that can read input position i.
  SEGRT_HOST_DEVICE int first_window(int i) const {
    const int reach = i + pad_begin - (kernel - 1) * dilation;
    return reach <= 0 ? 0 : (reach + stride - 1) / stride;
  }
  SEGRT_HOST_DEVICE int end_window(int i) const {
    const int windows = (i + pad_begin) / stride + 1;
    return windows < out ? windows : out;
  }
  // Real positions [begin(p), end(p)) of window p; dilation 1.
  SEGRT_HOST_DEVICE int begin(int p) const {
    const int i = position(p, 0);
    return i > 0 ? i : 0;
  }
  SEGRT_HOST_DEVICE int end(int p) const {
    const int i = position(p, kernel);
    return i < in ? i : in;
  }
  // Positions of window p within the padded input: what count_include_pad divides by.
  SEGRT_HOST_DEVICE int padded_size(int p) const {
    const int begin_at = position(p, 0), end_at = begin_at + kernel;
    return (end_at < in + pad_end ? end_at : in + pad_end) - begin_at;
  }
};

inline PoolAxis pool_rows(const PoolGeometry& g, int64_t in, int64_t out) {
  return {static_cast<int>(in), static_cast<int>(out), g.kernel_h, g.stride_h, g.pad_top, g.pad_bottom, g.dilation_h};
}
inline PoolAxis pool_columns(const PoolGeometry& g, int64_t in, int64_t out) {
  return {static_cast<int>(in), static_cast<int>(out), g.kernel_w, g.stride_w, g.pad_left, g.pad_right, g.dilation_w};
}

// What the sum of window (p, q) is divided by.
SEGRT_HOST_DEVICE inline int pool_divisor(const PoolAxis& rows, const PoolAxis& columns, int p, int q,
                                          bool count_include_pad) {
  const int size = count_include_pad ? rows.padded_size(p) * columns.padded_size(q)
                                     : (rows.end(p) - rows.begin(p)) * (columns.end(q) - columns.begin(q));
  return size > 0 ? size : 1;
}

}  // namespace segrt::kernels
