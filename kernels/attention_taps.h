// The nine points at which a query of DGMN2's attention samples keys and values. Written once for CPU and CUDA; A is
// float or double.
#pragma once

#include "core/tensor.h"
#include "kernels/bilinear_point.h"

namespace segrt::kernels {

inline constexpr int kHeadWidth = 64;       // channels of a head, in every variant
inline constexpr int kAttentionTaps = 9;    // keys of a query: a 3x3 window, moved by offsets
inline constexpr int kTapOffsets = 18;      // (dy, dx) of each
inline constexpr double kKeyScale = 0.125;  // kHeadWidth^-1/2

// Tap t = 3i + j of query (y, x) is at (y - 1 + i + dy, x - 1 + j + dx).
template <typename A>
SEGRT_HOST_DEVICE BilinearPoint<A> attention_tap(int t, A dy, A dx, int y, int x, int height, int width) {
  return BilinearPoint<A>::at(static_cast<A>(y - 1 + t / 3) + dy, static_cast<A>(x - 1 + t % 3) + dx, height, width);
}

// What kernels read from the shape of qkv [N,H,W,3*heads*64].
struct AttentionShape {
  int batch, height, width, heads;

  static AttentionShape of(const Tensor& qkv) {
    return {static_cast<int>(qkv.dim(0)), static_cast<int>(qkv.dim(1)), static_cast<int>(qkv.dim(2)),
            static_cast<int>(qkv.dim(3) / (3 * kHeadWidth))};
  }

  SEGRT_HOST_DEVICE int channels() const { return heads * kHeadWidth; }
  SEGRT_HOST_DEVICE int64_t pixels() const { return int64_t{batch} * height * width; }
};

}  // namespace segrt::kernels
