// y = conv(x, w) as implicit GEMM: rows are the pixels of y, columns the output channels of a group, depth runs over
// (tap, channel). Depthwise convolutions go to conv_depthwise.h.
#include "kernels/cuda/conv.h"
#include "kernels/cuda/conv_depthwise.h"
#include "kernels/cuda/conv_patches.cuh"
#include "kernels/elementwise.h"

namespace segrt::kernels::cuda {
namespace {

template <typename T>
struct ForwardProblem {
  PatchSource<T, Contiguous::depth> x;
  MatrixSource<T, Contiguous::depth> w;  // [O/groups, kh*kw*C/groups]
  EpilogueOutput<T, DenseRows> y;

  SEGRT_DEVICE void enter_group(int group) {
    x.image += group * x.g.channels;
    w.data += int64_t{group} * w.rows * w.stride;
    const int first = group * y.columns;
    y.y += first;
    if (y.residual) y.residual += first;
    if (y.bias) y.bias += first;
  }
};

// Grid: (tiles, 1, groups). Reads x about once from HBM, kh*kw/stride^2 times from L2 (once a tap; blocks of
// neighbouring tiles run together), w once a row of tiles from L2; writes y once. Shared memory and registers a thread:
// see the tile.
template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocksAProcessor)
    conv_forward_kernel(ForwardProblem<typename Tile::T> problem, int column_tiles) {
  auto& shared = Tile::shared();
  problem.enter_group(block_index().z);
  const TilePlace place = tile_place<Tile>(block_index().x, column_tiles);
  typename Tile::Sums sums;
  const int steps = ceil_div(problem.x.g.columns, Tile::kDepth);
  Tile::multiply(shared, problem.x, problem.w, place.row, place.column, 0, steps, sums);
  Tile::write(shared, sums, place.row, place.column, problem.y);
}

// Into channels [channel, channel + O) of y, which is as wide as it is.
template <typename T>
ForwardProblem<T> forward_problem(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                                  Tensor& y, int64_t channel) {
  const PatchGeometry patches = forward_patches(x.shape(), y.shape(), w.shape(), g);
  const int out_channels = static_cast<int>(w.dim(0) / g.groups);
  const Tensor* residual = epilogue.residual;
  const bool vectors =
      moves_in_vectors(y, out_channels) && moves_in_vectors(y, channel) && moves_in_vectors(y, y.dim(3));
  return {.x = {x.data<T>(), patches, moves_in_vectors(x, patches.channels)},
          .w = {w.data<T>(), patches.columns, out_channels, patches.columns, moves_in_vectors(w, patches.columns)},
          .y = {.map = {y.dim(3), patches.rows},
                .y = y.data<T>() + channel,
                .residual = residual ? residual->data<T>() : nullptr,
                .bias = epilogue.bias ? epilogue.bias->data<float>() : nullptr,
                .columns = out_channels,
                .relu = epilogue.relu,
                .silu = epilogue.silu,
                .vectors = vectors && (!residual || moves_in_vectors(*residual, out_channels))}};
}

template <typename Tile>
void run(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g, Tensor& y,
         int64_t channel) {
  const auto problem = forward_problem<typename Tile::T>(x, w, epilogue, g, y, channel);
  const int64_t column_tiles = ceil_div(problem.y.columns, Tile::kColumns);
  const int64_t tiles = blocks_for(problem.x.g.rows, Tile::kRows) * column_tiles;
  launch(x.device(), conv_forward_kernel<Tile>,
         {.grid = {tiles, 1, g.groups}, .block = Tile::kThreads, .shared_bytes = Tile::kDynamicShared}, problem,
         column_tiles);
}

void implicit_gemm(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g, Tensor& y,
                   int64_t channel) {
  const int64_t pixels = y.dim(0) * y.dim(1) * y.dim(2), outputs = w.dim(0) / g.groups;
  dispatch_tile<Contiguous::depth, Contiguous::depth>(
      x, moves_in_vectors(x, w.dim(3)) && moves_in_vectors(w, w.dim(3)), {pixels, outputs, g.groups},
      [&]<typename Tile>() { run<Tile>(x, w, epilogue, g, y, channel); });
}
}  // namespace

void conv2d_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g, Tensor& y) {
  if (!is_depthwise(w, g)) return implicit_gemm(x, w, epilogue, g, y, 0);
  depthwise_forward(x, w, epilogue, g, y);
  // A pass of its own: within those kernels, whose sums fill the registers, it would spill some.
  if (epilogue.silu) unary_forward(Unary::silu, y, y);
}

bool conv2d_forward_slice(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                          Tensor& y, int64_t channel) {
  if (is_depthwise(w, g)) return false;
  implicit_gemm(x, w, epilogue, g, y, channel);
  return true;
}

}  // namespace segrt::kernels::cuda
