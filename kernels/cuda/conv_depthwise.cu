// Depthwise forward and input gradient: both gather, for a pixel of the output, from the other image along the taps
// that conv_taps.h finds, so they are one kernel. It takes every shape; conv_depthwise_strips.cu is faster on the
// common ones.
#include "kernels/cuda/conv_depthwise.h"

#include "kernels/cuda/conv_depthwise.cuh"

namespace segrt::kernels::cuda {
namespace {

// sum[k] = sum over the taps at (n, h, w) of source[.., c + k] * weights[tap, c + k].
template <typename T, int K>
SEGRT_DEVICE void gather(const DepthwiseProblem<T>& p, const PixelPlace& at, int c, const float* weights, int channels,
                         float (&sum)[K]) {
  const TapLine h = p.backward ? p.h.backward_taps(at.h) : p.h.axis.forward_taps(at.h);
  const TapLine v = p.backward ? p.v.backward_taps(at.w) : p.v.axis.forward_taps(at.w);
  for (int t = 0; t < h.count; ++t) {
    const int row = h.source + t * h.source_step;
    if (row < 0 || row >= p.source_h) continue;
    const T* source = p.source + (int64_t{at.n} * p.source_h + row) * p.source_w * p.channels + c;
    const int first_tap = (h.first + t * h.step) * p.v.axis.kernel;
    for (int u = 0; u < v.count; ++u) {
      const int column = v.source + u * v.source_step;
      if (column < 0 || column >= p.source_w) continue;
      const Vec<T, K> x = load_vec<T, K>(source + int64_t{column} * p.channels);
      const Vec<float, K> w = load_vec<float, K>(weights + (first_tap + v.first + u * v.step) * channels);
#pragma unroll
      for (int k = 0; k < K; ++k) sum[k] += to_float(x[k]) * w[k];
    }
  }
}

// Grid: (pixel blocks, channel blocks); a block stages its weights once and then strides over pixels. Reads the source
// kh*kw/stride^2 times from L1/L2 (neighbouring pixels of a block share most of it) and about once from HBM, writes y
// once. Dynamic shared memory: taps * channels floats, at most 48 KiB.
template <typename T, int K>
__global__ void __launch_bounds__(kDepthwiseThreads) depthwise_kernel(DepthwiseProblem<T> p) {
  float* weights = dynamic_shared<float>();
  const int channels = block_dim().x * K, first_channel = block_index().y * channels;
  stage_weights(p, first_channel, channels, false, weights);
  sync_block();
  const int own = thread_index().x * K, c = first_channel + own;
  if (c >= p.channels) return;
  const int64_t stride = int64_t{grid_dim().x} * block_dim().y;
  for (int64_t pixel = int64_t{block_index().x} * block_dim().y + thread_index().y; pixel < p.pixels; pixel += stride) {
    float sum[K] = {};
    gather(p, pixel_place(p.grid, static_cast<int>(pixel)), c, weights + own, channels, sum);
    write_sums(p, pixel * p.channels + c, c, sum);
  }
}

// y is the image that is gathered for, with the taps of the axes' forward or backward direction.
void run(const Tensor& source, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g, bool backward,
         Tensor& y) {
  if (depthwise_strips(source, w, epilogue, g, backward, y)) return;
  const int taps = static_cast<int>(w.dim(1) * w.dim(2));
  const int64_t channels = y.dim(3), pixels = y.numel() / channels;
  const Tensor* residual = epilogue.residual;
  const int64_t max_channels = kDepthwiseShared / (taps * static_cast<int64_t>(sizeof(float)));
  const int64_t widest = 16 / static_cast<int64_t>(size_of(y.dtype()));
  const bool vectors = channels % widest == 0 && widest <= max_channels && is_aligned(source.raw()) &&
                       is_aligned(y.raw()) && (!residual || is_aligned(residual->raw()));
  dispatch_depthwise(y, vectors, [&]<typename T, int K>() {
    const DepthwiseBlock block = depthwise_block(channels, K, max_channels);
    const DepthwiseProblem<T> problem = depthwise_problem<T>(source, w, epilogue, g, backward, y);
    // Enough blocks to fill a large GPU eight times over; with more, staging weights would cost more than it saves.
    const int64_t pixel_blocks = grid_for(pixels, block.pixels * 4, ceil_div<int64_t>(132 * 8, block.channel_blocks));
    launch(y.device(), depthwise_kernel<T, K>,
           {.grid = {pixel_blocks, block.channel_blocks},
            .block = {block.lanes, block.pixels},
            .shared_bytes = sizeof(float) * static_cast<size_t>(taps * block.channels)},
           problem);
  });
}

}  // namespace

bool is_depthwise(const Tensor& w, const ConvGeometry& g) {
  return w.dim(0) == g.groups && w.dim(3) == 1 &&
         w.dim(1) * w.dim(2) * static_cast<int64_t>(sizeof(float)) <= kDepthwiseShared;
}

void depthwise_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                       Tensor& y) {
  run(x, w, epilogue, g, false, y);
}

void depthwise_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx) {
  run(dy, w, {}, g, true, dx);
}

}  // namespace segrt::kernels::cuda
