// The matrix product of a 1x1 convolution whose left operand is filtered by the depthwise convolution while it is
// loaded into its tile.
#include "kernels/cuda/separable.h"

#include "kernels/cuda/conv_depthwise.cuh"

namespace segrt::kernels::cuda {
namespace {
constexpr int kTaps = 9;
constexpr int kWidest = 128;  // output channels of one tile; as many input channels have their filters in shared memory

// The filtered image as a matrix [pixels of y, channels].
template <typename T>
struct FilteredSource {
  struct Row {
    int h, w;        // where tap (0, 0) reads
    int64_t origin;  // offset of that pixel, possibly outside of the image
  };
  using Depth = int;  // channel

  const T* x;      // [N,height,width,channels]
  const T* w;      // [channels,9]
  PixelGrid grid;  // of y
  int rows, height, width, channels;
  int stride_h, stride_w, pad_top, pad_left;
  const float* filters;  // in shared memory: [9][channels]

  SEGRT_DEVICE Row row(int index) const {
    constexpr int kOutside = -(1 << 30);
    if (index >= rows) return {kOutside, kOutside, 0};
    const PixelPlace at = pixel_place(grid, index);
    const int h = at.h * stride_h - pad_top, v = at.w * stride_w - pad_left;
    return {h, v, ((int64_t{at.n} * height + h) * width + v) * channels};
  }
  SEGRT_DEVICE Depth depth(int index) const { return index; }
  SEGRT_DEVICE Vec<T, kVec<T>> load(const Row& r, Depth c) const {
    Vec<T, kVec<T>> values{};
    if (c >= channels) return values;
    float sum[kVec<T>] = {};
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      const int i = tap / 3, j = tap % 3;
      if (static_cast<unsigned>(r.h + i) >= static_cast<unsigned>(height) ||
          static_cast<unsigned>(r.w + j) >= static_cast<unsigned>(width))
        continue;
      const Vec<T, kVec<T>> pixel = load_vec<T, kVec<T>>(x + r.origin + (int64_t{i} * width + j) * channels + c);
      const Vec<float, kVec<T>> filter = load_vec<float, kVec<T>>(filters + tap * channels + c);
#pragma unroll
      for (int k = 0; k < kVec<T>; ++k) sum[k] += to_float(pixel[k]) * filter[k];
    }
#pragma unroll
    for (int k = 0; k < kVec<T>; ++k) values[k] = from_float<T>(sum[k]);
    return values;
  }
};

template <typename T>
struct SeparableProblem {
  FilteredSource<T> x;
  MatrixSource<T, Contiguous::depth> pointwise;  // [O, channels]
  EpilogueOutput<T, DenseRows> y;
};

// Grid: tiles of pixels. Reads x about once from HBM and nine times from L1, writes y once. Shared memory: a tile's and
// 36 bytes a channel.
template <typename Math, int Columns>
__global__ void __launch_bounds__(kTileThreads) separable_kernel(SeparableProblem<typename Math::Input> p) {
  using Tile = GemmTile<Math, Columns, Contiguous::depth, Contiguous::depth>;
  auto& shared = block_shared<typename Tile::Shared>();
  float* filters = dynamic_shared<float>();
  const int channels = p.x.channels;
  for (int e = linear_thread(); e < kTaps * channels; e += kTileThreads)
    filters[e % kTaps * channels + e / kTaps] = to_float(p.x.w[e]);
  sync_block();
  p.x.filters = filters;
  const int row = block_index().x * kTileRows;
  typename Tile::Sums sums;
  Tile::multiply(shared, p.x, p.pointwise, row, 0, 0, ceil_div(channels, Tile::kDepth), sums);
  Tile::write(shared, sums, row, 0, p.y);
}

template <typename T>
SeparableProblem<T> separable_problem(const Tensor& x, const Tensor& depthwise, const ConvGeometry& g,
                                      const Tensor& pointwise, const ConvEpilogue& epilogue, Tensor& y) {
  const int rows = narrow("separable_conv2d", "pixels", y.dim(0) * y.dim(1) * y.dim(2));
  const int channels = static_cast<int>(x.dim(3)), outputs = static_cast<int>(y.dim(3));
  const Tensor* residual = epilogue.residual;
  return {.x = {.x = x.data<T>(),
                .w = depthwise.data<T>(),
                .grid = PixelGrid(y.shape()),
                .rows = rows,
                .height = static_cast<int>(x.dim(1)),
                .width = static_cast<int>(x.dim(2)),
                .channels = channels,
                .stride_h = g.stride_h,
                .stride_w = g.stride_w,
                .pad_top = g.pad_top,
                .pad_left = g.pad_left,
                .filters = nullptr},
          .pointwise = {pointwise.data<T>(), channels, outputs, channels, moves_in_vectors(pointwise, channels)},
          .y = {.map = {y.dim(3), rows},
                .y = y.data<T>(),
                .residual = residual ? residual->data<T>() : nullptr,
                .bias = epilogue.bias ? epilogue.bias->data<float>() : nullptr,
                .columns = outputs,
                .relu = epilogue.relu,
                .silu = epilogue.silu,
                .vectors = moves_in_vectors(y, outputs) && (!residual || moves_in_vectors(*residual, outputs))}};
}

template <typename Math, int Columns>
void run(const Tensor& x, const Tensor& depthwise, const ConvGeometry& g, const Tensor& pointwise,
         const ConvEpilogue& epilogue, Tensor& y) {
  const auto problem = separable_problem<typename Math::Input>(x, depthwise, g, pointwise, epilogue, y);
  launch(x.device(), separable_kernel<Math, Columns>,
         {.grid = blocks_for(problem.x.rows, kTileRows),
          .block = kTileThreads,
          .shared_bytes = sizeof(float) * static_cast<size_t>(kTaps * problem.x.channels)},
         problem);
}
}  // namespace

bool separable_fuses(const Tensor& x, int64_t outputs) {
  const int64_t vector = 16 / static_cast<int64_t>(size_of(x.dtype()));
  return x.dim(3) % vector == 0 && x.dim(3) <= kWidest && outputs <= kWidest && is_aligned(x.raw());
}

void separable_conv2d_forward(const Tensor& x, const Tensor& depthwise, const ConvGeometry& g, const Tensor& pointwise,
                              const ConvEpilogue& epilogue, Tensor& y) {
  dispatch_math(x, [&]<typename Math>() {
    if (wide_tiles(y.dim(3)))
      run<Math, 128>(x, depthwise, g, pointwise, epilogue, y);
    else
      run<Math, 64>(x, depthwise, g, pointwise, epilogue, y);
  });
}

}  // namespace segrt::kernels::cuda
