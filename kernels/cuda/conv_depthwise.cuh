// How a block of a depthwise kernel divides its threads: neighbouring lanes take neighbouring channel vectors
// (coalesced along C), the rest of the block takes pixels.
#pragma once

#include "kernels/cuda/conv_patches.cuh"

namespace segrt::kernels::cuda {

constexpr int kDepthwiseThreads = 256;
constexpr int64_t kDepthwiseShared = 48 * 1024;  // bytes of weights a block keeps

struct DepthwiseBlock {
  int lanes;     // along channels, a power of two
  int pixels;    // at once
  int channels;  // of the block
  int64_t channel_blocks;
};

// At most `max_channels` channels a block.
inline DepthwiseBlock depthwise_block(int64_t channels, int vector, int64_t max_channels) {
  int lanes = 1;
  while (lanes < kWarpSize && lanes * vector < channels && 2 * lanes * vector <= max_channels) lanes *= 2;
  return {lanes, kDepthwiseThreads / lanes, lanes * vector, blocks_for(channels, lanes * vector)};
}

// Calls f.template operator()<T, K>(): elements of type T, K channels a thread.
template <typename F>
void dispatch_depthwise(const Tensor& x, bool vectors, F&& f) {
  dispatch_float(x.dtype(), [&]<typename T>() {
    if (vectors)
      f.template operator()<T, kVec<T>>();
    else
      f.template operator()<T, 1>();
  });
}

// [N,H,W,C] of which pixel numbers are taken apart.
struct PixelGrid {
  int height, width;
  Divisor by_plane, by_width;
  PixelGrid() = default;
  explicit PixelGrid(const Shape& s)
      : height(static_cast<int>(s[1])),
        width(static_cast<int>(s[2])),
        by_plane(narrow("conv2d", "pixels of an image", s[1] * s[2])),
        by_width(width) {}
};
struct PixelPlace {
  int n, h, w;
};
SEGRT_DEVICE PixelPlace pixel_place(const PixelGrid& grid, int pixel) {
  const int n = grid.by_plane(pixel), in_plane = pixel - n * grid.height * grid.width;
  const int h = grid.by_width(in_plane);
  return {n, h, in_plane - h * grid.width};
}

}  // namespace segrt::kernels::cuda
