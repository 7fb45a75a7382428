// Depthwise 3x3 and 5x5 without dilation: forward at strides 1 and 2, input gradient at stride 1 (a forward convolution
// with flipped weights). A thread computes four neighbouring outputs of a row, so that a pixel of the source and a
// weight are loaded and converted once for all outputs that they meet.
#include "kernels/cuda/conv_depthwise.cuh"

namespace segrt::kernels::cuda {
namespace {

constexpr int kStrip = 4;

template <typename T>
struct StripProblem {
  DepthwiseProblem<T> depthwise;
  PixelGrid strips;  // of y, a strip a pixel
  int count;         // of strips
  int pad_h, pad_w;
};

// sum[s][k] += source[row, first + s * kStride + j, c + k] * weights[j, k] for the kSide taps j of one row of the
// kernel.
template <int kSide, int kStride, typename T, int K>
SEGRT_DEVICE void add_row(const DepthwiseProblem<T>& p, const T* row, int first, const float* weights, int channels,
                          float (&sum)[kStrip][K]) {
  constexpr int kColumns = (kStrip - 1) * kStride + kSide;
  Vec<T, K> pixels[kColumns];  // all in flight before the first is used
#pragma unroll
  for (int u = 0; u < kColumns; ++u) {
    const int column = first + u;
    pixels[u] = {};
    if (column >= 0 && column < p.source_w) pixels[u] = load_vec<T, K>(row + int64_t{column} * p.channels);
  }
#pragma unroll
  for (int j = 0; j < kSide; ++j) {
    const Vec<float, K> w = load_vec<float, K>(weights + j * channels);
#pragma unroll
    for (int s = 0; s < kStrip; ++s)
#pragma unroll
      for (int k = 0; k < K; ++k) sum[s][k] += to_float(pixels[s * kStride + j][k]) * w[k];
  }
}

// Grid: (strip blocks, channel blocks); a block stages its weights once and then strides over strips. Neighbouring
// lanes take neighbouring channel vectors. Reads the source kSide times a row from L1/L2 (by threads of neighbouring
// rows) and about once from HBM, writes y once. Dynamic shared memory: taps * channels floats.
template <typename T, int kSide, int kStride>
__global__ void __launch_bounds__(kDepthwiseThreads) depthwise_strip_kernel(StripProblem<T> problem) {
  constexpr int K = kVec<T>;
  const DepthwiseProblem<T>& p = problem.depthwise;
  float* weights = dynamic_shared<float>();
  const int channels = block_dim().x * K, first_channel = block_index().y * channels;
  stage_weights(p, first_channel, channels, p.backward, weights);
  sync_block();
  const int own = thread_index().x * K, c = first_channel + own;
  if (c >= p.channels) return;
  const int64_t step = int64_t{grid_dim().x} * block_dim().y;
  for (int64_t strip = int64_t{block_index().x} * block_dim().y + thread_index().y; strip < problem.count;
       strip += step) {
    const PixelPlace at = pixel_place(problem.strips, static_cast<int>(strip));
    const int column = at.w * kStrip;
    float sum[kStrip][K] = {};
#pragma unroll
    for (int i = 0; i < kSide; ++i) {
      const int h = at.h * kStride - problem.pad_h + i;
      if (h < 0 || h >= p.source_h) continue;
      const T* row = p.source + (int64_t{at.n} * p.source_h + h) * p.source_w * p.channels + c;
      add_row<kSide, kStride>(p, row, column * kStride - problem.pad_w, weights + i * kSide * channels + own, channels,
                              sum);
    }
    const int64_t pixel = (int64_t{at.n} * p.grid.height + at.h) * p.grid.width + column;
#pragma unroll
    for (int s = 0; s < kStrip; ++s)
      if (column + s < p.grid.width) write_sums(p, (pixel + s) * p.channels + c, c, sum[s]);
  }
}

template <typename T, int kSide, int kStride>
void run(const Tensor& source, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g, bool backward,
         Tensor& y) {
  const Shape strips{y.dim(0), y.dim(1), ceil_div(y.dim(2), kStrip), y.dim(3)};
  // A gradient gathers from dy what the forward pass scattered: its padding is what the kernel reaches beyond.
  const auto padding = [&](int pad) { return backward ? kSide - 1 - pad : pad; };
  const StripProblem<T> problem = {.depthwise = depthwise_problem<T>(source, w, epilogue, g, backward, y),
                                   .strips = PixelGrid(strips),
                                   .count = static_cast<int>(strips.numel() / strips[3]),
                                   .pad_h = padding(g.pad_top),
                                   .pad_w = padding(g.pad_left)};
  const DepthwiseBlock block = depthwise_block(y.dim(3), kVec<T>, kWarpSize * kVec<T>);
  // Enough blocks to fill a large GPU eight times over; with more, staging weights would cost more than it saves.
  const int64_t strip_blocks = grid_for(problem.count, block.pixels, ceil_div<int64_t>(132 * 8, block.channel_blocks));
  launch(y.device(), depthwise_strip_kernel<T, kSide, kStride>,
         {.grid = {strip_blocks, block.channel_blocks},
          .block = {block.lanes, block.pixels},
          .shared_bytes = sizeof(float) * static_cast<size_t>(kSide * kSide * block.channels)},
         problem);
}

}  // namespace

bool depthwise_strips(const Tensor& source, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                      bool backward, Tensor& y) {
  const int64_t side = w.dim(1);
  const bool square = w.dim(2) == side && g.stride_h == g.stride_w && g.dilation_h == 1 && g.dilation_w == 1;
  if (!square || (side != 3 && side != 5) || g.stride_h > (backward ? 1 : 2)) return false;
  if (!moves_in_vectors(source, y.dim(3)) || !is_aligned(y.raw())) return false;
  if (epilogue.residual && !is_aligned(epilogue.residual->raw())) return false;
  dispatch_float(y.dtype(), [&]<typename T>() {
    if (side == 3)
      g.stride_h == 1 ? run<T, 3, 1>(source, w, epilogue, g, backward, y)
                      : run<T, 3, 2>(source, w, epilogue, g, backward, y);
    else
      g.stride_h == 1 ? run<T, 5, 1>(source, w, epilogue, g, backward, y)
                      : run<T, 5, 2>(source, w, epilogue, g, backward, y);
  });
  return true;
}

}  // namespace segrt::kernels::cuda
