// dx of a convolution as implicit GEMM by gathering: rows are pixels of dx, columns the input channels of a group,
// depth runs over (tap, output channel). With stride s the pixels of one phase (h mod s_h, w mod s_w) meet the same
// taps, a 1/(s_h s_w) of all; each phase is a dense convolution of its own, so no product is with a zero that stride
// put there, every dx is written by one thread, and nothing is added atomically.
#include "kernels/cuda/conv.h"
#include "kernels/cuda/conv_depthwise.h"
#include "kernels/cuda/conv_patches.cuh"

namespace segrt::kernels::cuda {
namespace {

// B[(tap, o), c] = w[o, i, j, c] with tap (t_h, t_w) of the phase at i = h.first + t_h * h.step, j likewise. Contiguous
// in c.
template <typename T>
struct TapWeights {
  using Row = int;
  struct Depth {
    bool inside;
    int offset;
  };
  const T* w;  // [O/groups,kernel_h,kernel_w,channels]
  int kernel_h, kernel_w, channels;
  bool vectors;
  TapLine h, w_line;
  int depths, out_channels;
  Divisor by_out_channels, by_taps_w;

  SEGRT_DEVICE Row row(int channel) const { return channel; }
  SEGRT_DEVICE Depth depth(int index) const {
    const int t = by_out_channels(index), o = index - t * out_channels;
    const int t_h = by_taps_w(t), t_w = t - t_h * w_line.count;
    const int i = h.first + t_h * h.step, j = w_line.first + t_w * w_line.step;
    return {index < depths, ((o * kernel_h + i) * kernel_w + j) * channels};
  }
  SEGRT_DEVICE Found<T> find(Row c, const Depth& d) const {
    const bool exists = c < channels && d.inside;
    return {w + (exists ? d.offset + c : 0), exists};
  }
  SEGRT_DEVICE Vec<T, kVec<T>> load(Row c, const Depth& d) const {
    Vec<T, kVec<T>> values{};
    if (c >= channels || !d.inside) return values;
    const T* p = w + d.offset + c;
    if (vectors) return load_vec<T, kVec<T>>(p);
#pragma unroll
    for (int v = 0; v < kVec<T>; ++v)
      if (c + v < channels) values[v] = p[v];
    return values;
  }
};

// Row (n, r, s) of a phase is pixel (r * stride_h + phase_h, s * stride_w + phase_w) of dx, if there is one.
struct PhaseRows {
  int rows, patches_h, patches_w;
  int height, width, channels;
  int stride_h, stride_w, phase_h, phase_w;
  Divisor by_plane, by_width;

  SEGRT_DEVICE int64_t offset(int row) const {
    const int n = by_plane(row), in_plane = row - n * patches_h * patches_w;
    const int r = by_width(in_plane), s = in_plane - r * patches_w;
    const int h = r * stride_h + phase_h, w = s * stride_w + phase_w;
    if (row >= rows || h >= height || w >= width) return -1;
    return ((int64_t{n} * height + h) * width + w) * channels;
  }
};

template <typename T>
struct InputGradientProblem {
  PatchSource<T, Contiguous::depth> dy;
  TapWeights<T> w;
  EpilogueOutput<T, PhaseRows> dx;
  GradientAxis axis_h, axis_w;

  SEGRT_DEVICE void enter_group(int group) {
    dy.image += group * dy.g.channels;
    w.w += int64_t{group} * w.out_channels * w.kernel_h * w.kernel_w * w.channels;
    dx.y += group * w.channels;
  }
  SEGRT_DEVICE void enter_phase(int phase) {
    dx.map.phase_h = phase / axis_w.axis.stride;
    dx.map.phase_w = phase % axis_w.axis.stride;
    w.h = axis_h.backward_taps(dx.map.phase_h);
    w.w_line = axis_w.backward_taps(dx.map.phase_w);
    dy.g.h.offset = w.h.source;
    dy.g.h.step = w.h.source_step;
    dy.g.w.offset = w.w_line.source;
    dy.g.w.step = w.w_line.source_step;
    dy.g.set_taps(w.h.count, w.w_line.count);
    w.depths = dy.g.columns;
    w.by_taps_w = dy.g.by_taps_w;
  }
};

// Grid: (tiles, phases, groups). Reads dy about once a phase from HBM (phases run one after the other, so small images
// stay in L2), w once a row of tiles from L2; writes dx once. A phase that no tap meets writes zeros.
template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocksAProcessor)
    conv_backward_input_kernel(InputGradientProblem<typename Tile::T> problem, int column_tiles) {
  auto& shared = Tile::shared();
  problem.enter_group(block_index().z);
  problem.enter_phase(block_index().y);
  const TilePlace place = tile_place<Tile>(block_index().x, column_tiles);
  typename Tile::Sums sums;
  const int steps = ceil_div(problem.w.depths, Tile::kDepth);
  Tile::multiply(shared, problem.dy, problem.w, place.row, place.column, 0, steps, sums);
  Tile::write(shared, sums, place.row, place.column, problem.dx);
}

template <typename T>
InputGradientProblem<T> input_gradient_problem(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx) {
  const ConvAxes axes(g, w.shape());
  const int height = static_cast<int>(dx.dim(1)), width = static_cast<int>(dx.dim(2));
  const int channels = static_cast<int>(w.dim(3)), out_channels = static_cast<int>(w.dim(0) / g.groups);
  // Phases differ by at most one row and column; all have the extent of the largest and skip what is not there.
  const PatchAxis h{ceil_div(height, g.stride_h), static_cast<int>(dy.dim(1)), 1, 0, 0};
  const PatchAxis v{ceil_div(width, g.stride_w), static_cast<int>(dy.dim(2)), 1, 0, 0};
  const PatchGeometry patches(h, v, static_cast<int>(dx.dim(0)), out_channels, g.groups);
  narrow("conv2d_backward_input", "terms of a sum", w.dim(1) * w.dim(2) * out_channels);
  narrow("conv2d_backward_input", "weights", w.numel());

  InputGradientProblem<T> problem;
  problem.dy = {dy.data<T>(), patches, moves_in_vectors(dy, out_channels)};
  problem.w.w = w.data<T>();
  problem.w.kernel_h = axes.h.kernel;
  problem.w.kernel_w = axes.w.kernel;
  problem.w.channels = channels;
  problem.w.vectors = moves_in_vectors(w, channels);
  problem.w.out_channels = out_channels;
  problem.w.by_out_channels = patches.by_channels;
  problem.dx.map = {patches.rows,        h.patches,       v.patches,  height, width,
                    channels * g.groups, g.stride_h,      g.stride_w, 0,      0,
                    patches.by_plane,    patches.by_width};
  problem.dx.y = dx.data<T>();
  problem.dx.residual = nullptr;
  problem.dx.bias = nullptr;
  problem.dx.columns = channels;
  problem.dx.relu = problem.dx.silu = false;
  problem.dx.vectors = moves_in_vectors(dx, channels);
  problem.axis_h = GradientAxis(axes.h);
  problem.axis_w = GradientAxis(axes.w);
  return problem;
}

template <typename Tile>
void run(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx) {
  const auto problem = input_gradient_problem<typename Tile::T>(dy, w, g, dx);
  const int64_t column_tiles = ceil_div(problem.dx.columns, Tile::kColumns);
  const int64_t tiles = blocks_for(problem.dy.g.rows, Tile::kRows) * column_tiles;
  launch(dy.device(), conv_backward_input_kernel<Tile>,
         {.grid = {tiles, int64_t{g.stride_h} * g.stride_w, g.groups},
          .block = Tile::kThreads,
          .shared_bytes = Tile::kDynamicShared},
         problem, column_tiles);
}

}  // namespace

void conv2d_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx) {
  if (is_depthwise(w, g)) return depthwise_backward_input(dy, w, g, dx);
  const int64_t phases = int64_t{g.stride_h} * g.stride_w;
  const int64_t pixels = dx.dim(0) * ceil_div(dx.dim(1), g.stride_h) * ceil_div(dx.dim(2), g.stride_w);
  dispatch_tile<Contiguous::depth, Contiguous::rows>(
      dy, moves_in_vectors(dy, w.dim(0) / g.groups) && moves_in_vectors(w, w.dim(3)),
      {pixels, w.dim(3), phases * g.groups}, [&]<typename Tile>() { run<Tile>(dy, w, g, dx); });
}

}  // namespace segrt::kernels::cuda
