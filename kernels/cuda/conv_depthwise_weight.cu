// Depthwise weight gradient: dw[c,tap] = sum over pixels of dy[.., c] * x[.., c].
#include "kernels/cuda/conv_depthwise.cuh"
#include "kernels/cuda/conv_depthwise.h"
#include "kernels/cuda/split_sum.h"

namespace segrt::kernels::cuda {
namespace {

// Taps a block sums at once: a 3x3 kernel reads x and dy once.
constexpr int kTapTile = 9;

template <typename T>
struct DepthwiseWeightProblem {
  const T* x;       // [N,x_h,x_w,C]
  const T* dy;      // [N,P,Q,C]
  float* partials;  // [parts,C,taps]
  int channels, x_h, x_w;
  int pixels, pixels_a_part;
  PixelGrid grid;  // of dy
  ConvAxis h, v;
  int taps;
};

template <int K>
struct DepthwiseReduction {
  float sums[kDepthwiseThreads * K];  // [pixel lanes, channels of the block]
};

// sum[t][k] += this thread's pixels' products for taps first_tap + t.
template <typename T, int K>
SEGRT_DEVICE void sum_pixels(const DepthwiseWeightProblem<T>& p, int first_tap, int c, float (&sum)[kTapTile][K]) {
  constexpr int kOutside = -(1 << 30);  // a tap that does not exist reads outside every image
  int tap_h[kTapTile], tap_v[kTapTile];
#pragma unroll
  for (int t = 0; t < kTapTile; ++t) {
    const int tap = first_tap + t;
    tap_h[t] = tap < p.taps ? tap / p.v.kernel * p.h.dilation : kOutside;
    tap_v[t] = tap < p.taps ? tap % p.v.kernel * p.v.dilation : kOutside;
  }
  const int64_t begin = int64_t{block_index().x} * p.pixels_a_part;
  const int64_t end = std::min(begin + p.pixels_a_part, int64_t{p.pixels});
  for (int64_t pixel = begin + thread_index().y; pixel < end; pixel += block_dim().y) {
    const PixelPlace at = pixel_place(p.grid, static_cast<int>(pixel));
    const int h = at.h * p.h.stride - p.h.pad, w = at.w * p.v.stride - p.v.pad;
    const Vec<T, K> dy = load_vec<T, K>(p.dy + pixel * p.channels + c);
#pragma unroll
    for (int t = 0; t < kTapTile; ++t) {
      const int row = h + tap_h[t], column = w + tap_v[t];
      if (row < 0 || row >= p.x_h || column < 0 || column >= p.x_w) continue;
      const Vec<T, K> x = load_vec<T, K>(p.x + ((int64_t{at.n} * p.x_h + row) * p.x_w + column) * p.channels + c);
#pragma unroll
      for (int k = 0; k < K; ++k) sum[t][k] += to_float(dy[k]) * to_float(x[k]);
    }
  }
}

// Grid: (parts of the pixels, channel blocks, tap tiles). Reads dy once a tap tile and x once a tap, from L1/L2 after
// the first time; 9 K sums in registers. Pixel lanes are added in ascending order.
template <typename T, int K>
__global__ void __launch_bounds__(kDepthwiseThreads) depthwise_weight_kernel(DepthwiseWeightProblem<T> p) {
  auto& shared = block_shared<DepthwiseReduction<K>>();
  const int channels = block_dim().x * K, first_channel = block_index().y * channels;
  const int first_tap = block_index().z * kTapTile, own = thread_index().x * K;
  float sum[kTapTile][K] = {};
  if (first_channel + own < p.channels) sum_pixels(p, first_tap, first_channel + own, sum);

  const int c = linear_thread();  // of the block's channels, while adding pixel lanes
#pragma unroll
  for (int t = 0; t < kTapTile; ++t) {
#pragma unroll
    for (int k = 0; k < K; ++k) shared.sums[thread_index().y * channels + own + k] = sum[t][k];
    sync_block();
    if (c < channels && first_channel + c < p.channels && first_tap + t < p.taps) {
      float total = 0.0f;
      for (int lane = 0; lane < block_dim().y; ++lane) total += shared.sums[lane * channels + c];
      p.partials[(int64_t{block_index().x} * p.channels + first_channel + c) * p.taps + first_tap + t] = total;
    }
    sync_block();
  }
}

}  // namespace

void depthwise_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw) {
  const ConvAxes axes(g, dw.shape());
  const int taps = axes.h.kernel * axes.w.kernel;
  const int64_t channels = x.dim(3), pixels = dy.numel() / channels;
  const int64_t widest = 16 / static_cast<int64_t>(size_of(x.dtype()));
  const bool vectors = channels % widest == 0 && is_aligned(x.raw()) && is_aligned(dy.raw());
  dispatch_depthwise(x, vectors, [&]<typename T, int K>() {
    // With at most a warp of lanes, 8 or more pixels are summed at once.
    const DepthwiseBlock block = depthwise_block(channels, K, kWarpSize * K);
    const int64_t tap_tiles = ceil_div(taps, kTapTile);
    const int64_t parts = split_count(block.channel_blocks * tap_tiles, blocks_for(pixels, block.pixels));
    const Tensor partials = partial_sums_for(dw, parts);
    const DepthwiseWeightProblem<T> problem = {.x = x.data<T>(),
                                               .dy = dy.data<T>(),
                                               .partials = partials.data<float>(),
                                               .channels = static_cast<int>(channels),
                                               .x_h = static_cast<int>(x.dim(1)),
                                               .x_w = static_cast<int>(x.dim(2)),
                                               .pixels = narrow("conv2d_backward_weight", "pixels", pixels),
                                               .pixels_a_part = static_cast<int>(ceil_div(pixels, parts)),
                                               .grid = PixelGrid(dy.shape()),
                                               .h = axes.h,
                                               .v = axes.w,
                                               .taps = taps};
    launch(x.device(), depthwise_weight_kernel<T, K>,
           {.grid = {parts, block.channel_blocks, tap_tiles}, .block = {block.lanes, block.pixels}}, problem);
    add_partial_sums(partials, dw);
  });
}

}  // namespace segrt::kernels::cuda
