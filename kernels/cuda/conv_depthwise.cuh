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

// A convolution or input gradient: y is gathered from `source`.
template <typename T>
struct DepthwiseProblem {
  const T* source;  // x forward, dy backward: [N,source_h,source_w,C]
  const T* w;       // [C,kh,kw]
  T* y;             // y or dx: [N,H,W,C]
  const T* residual;
  const float* bias;
  bool relu, backward;
  int channels, source_h, source_w, pixels;
  PixelGrid grid;  // of y
  GradientAxis h, v;
  int taps;
  Divisor by_taps;
};

// Weights of the block's channels into shared memory as float [taps, channels], so that a thread finds those of its
// channels together; `flipped` with the last tap first. Global reads are consecutive.
template <typename T>
SEGRT_DEVICE void stage_weights(const DepthwiseProblem<T>& p, int first_channel, int channels, bool flipped,
                                float* weights) {
  const T* w = p.w + int64_t{first_channel} * p.taps;
  const int present = std::min(channels, p.channels - first_channel);
  for (int e = linear_thread(); e < channels * p.taps; e += kDepthwiseThreads) {
    const int c = p.by_taps(e), tap = e - c * p.taps;
    weights[(flipped ? p.taps - 1 - tap : tap) * channels + c] = c < present ? to_float(w[e]) : 0.0f;
  }
}

// y at `at`, channels c.. = act(sum + bias + residual).
template <typename T, int K>
SEGRT_DEVICE void write_sums(const DepthwiseProblem<T>& p, int64_t at, int c, const float (&sum)[K]) {
  Vec<T, K> added{}, out;
  if (p.residual) added = load_vec<T, K>(p.residual + at);
#pragma unroll
  for (int k = 0; k < K; ++k) {
    float value = sum[k] + (p.bias ? p.bias[c + k] : 0.0f);
    if (p.residual) value += to_float(added[k]);
    out[k] = from_float<T>(p.relu && value < 0.0f ? 0.0f : value);
  }
  store_vec(p.y + at, out);
}

template <typename T>
DepthwiseProblem<T> depthwise_problem(const Tensor& source, const Tensor& w, const ConvEpilogue& epilogue,
                                      const ConvGeometry& g, bool backward, Tensor& y) {
  const ConvAxes axes(g, w.shape());
  const int taps = axes.h.kernel * axes.w.kernel;
  return {.source = source.data<T>(),
          .w = w.data<T>(),
          .y = y.data<T>(),
          .residual = epilogue.residual ? epilogue.residual->data<T>() : nullptr,
          .bias = epilogue.bias ? epilogue.bias->data<float>() : nullptr,
          .relu = epilogue.relu,
          .backward = backward,
          .channels = static_cast<int>(y.dim(3)),
          .source_h = static_cast<int>(source.dim(1)),
          .source_w = static_cast<int>(source.dim(2)),
          .pixels = narrow("conv2d", "pixels", y.numel() / y.dim(3)),
          .grid = PixelGrid(y.shape()),
          .h = GradientAxis(axes.h),
          .v = GradientAxis(axes.w),
          .taps = taps,
          .by_taps = Divisor(taps)};
}

// The same result for the common shapes, or false and nothing done.
bool depthwise_strips(const Tensor& source, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                      bool backward, Tensor& y);

}  // namespace segrt::kernels::cuda
