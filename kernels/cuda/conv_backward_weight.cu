// dw of a convolution as GEMM: rows are (tap, channel) of a group, columns its output channels, depth runs over the
// pixels of dy. The depth is by far the longest extent, so it is cut into parts that blocks sum independently; a second
// kernel adds the parts in a fixed order. The same bits in every run.
#include "kernels/cuda/conv.h"
#include "kernels/cuda/conv_depthwise.h"
#include "kernels/cuda/conv_patches.cuh"
#include "kernels/cuda/split_sum.h"

namespace segrt::kernels::cuda {
namespace {

// partials[o, (tap, c)]: transposed on the way out, as dw keeps (tap, c) together. 16 lanes write 64 consecutive bytes.
struct PartialOutput {
  float* partials;  // [O/groups, rows] of this part and group
  int rows, columns;

  SEGRT_DEVICE void operator()(const float* patch, int row, int column) const {
    for (int e = lane_index(); e < kSliceRows * kPatchColumns; e += kWarpSize) {
      const int r = e % kSliceRows, c = e / kSliceRows;
      if (row + r < rows && column + c < columns)
        partials[int64_t{column + c} * rows + row + r] = patch[r * kPatchStride + c];
    }
  }
};

template <typename T>
struct WeightGradientProblem {
  PatchSource<T, Contiguous::rows> x;
  MatrixSource<T, Contiguous::rows> dy;  // [pixels, O]
  PartialOutput dw;
  int64_t part_size;  // elements of dw
  int steps, steps_a_part;

  SEGRT_DEVICE void enter(int part, int group) {
    x.image += group * x.g.channels;
    dy.data += group * dy.rows;
    dw.partials += part * part_size + int64_t{group} * dw.columns * dw.rows;
  }
};

// Grid: (tiles, parts, groups). x is read about once a tap from L2 and once from HBM where a part's pixels fit in L2,
// dy once a row of tiles; writes every part's sums once in float32.
template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocksAProcessor)
    conv_backward_weight_kernel(WeightGradientProblem<typename Tile::T> problem, int column_tiles) {
  auto& shared = Tile::shared();
  const int part = block_index().y;
  problem.enter(part, block_index().z);
  const TilePlace place = tile_place<Tile>(block_index().x, column_tiles);
  typename Tile::Sums sums;
  const int begin = part * problem.steps_a_part, end = std::min(begin + problem.steps_a_part, problem.steps);
  Tile::multiply(shared, problem.x, problem.dy, place.row, place.column, begin, end, sums);
  Tile::write(shared, sums, place.row, place.column, problem.dw);
}

template <typename Tile>
void run(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw) {
  using T = typename Tile::T;
  const PatchGeometry patches = forward_patches(x.shape(), dy.shape(), dw.shape(), g);
  const int out_channels = static_cast<int>(dy.dim(3) / g.groups);
  const int64_t column_tiles = ceil_div(out_channels, Tile::kColumns);
  const int64_t tiles = blocks_for(patches.columns, Tile::kRows) * column_tiles;
  const int steps = ceil_div(patches.rows, Tile::kDepth);
  const int64_t parts = split_count(tiles * g.groups, steps);
  const Tensor partials = partial_sums_for(dw, parts);
  const WeightGradientProblem<T> problem = {
      .x = {x.data<T>(), patches, moves_in_vectors(x, patches.channels)},
      .dy = {dy.data<T>(), static_cast<int>(dy.dim(3)), out_channels, patches.rows, moves_in_vectors(dy, out_channels)},
      .dw = {partials.data<float>(), patches.columns, out_channels},
      .part_size = dw.numel(),
      .steps = steps,
      .steps_a_part = static_cast<int>(ceil_div(int64_t{steps}, parts))};
  launch(x.device(), conv_backward_weight_kernel<Tile>,
         {.grid = {tiles, parts, g.groups}, .block = Tile::kThreads, .shared_bytes = Tile::kDynamicShared}, problem,
         column_tiles);
  add_partial_sums(partials, dw);
}

}  // namespace

void conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw) {
  if (is_depthwise(dw, g)) return depthwise_backward_weight(x, dy, g, dw);
  const int64_t outputs = dy.dim(3) / g.groups;
  dispatch_tile<Contiguous::rows, Contiguous::rows>(x, moves_in_vectors(x, dw.dim(3)) && moves_in_vectors(dy, outputs),
                                                    {dw.dim(1) * dw.dim(2) * dw.dim(3), outputs, g.groups, true},
                                                    [&]<typename Tile>() { run<Tile>(x, dy, g, dw); });
}

}  // namespace segrt::kernels::cuda
