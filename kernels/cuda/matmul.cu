// Matrix products with the tile that convolutions use. Four memory orders of the operands, one tile size.
#include "kernels/cuda/matmul.h"

#include "kernels/cuda/gemm_tile.cuh"

namespace segrt::kernels::cuda {
namespace {

constexpr int kColumns = 64;

template <typename T, Contiguous kOrderA, Contiguous kOrderB>
struct MatmulProblem {
  MatrixSource<T, kOrderA> a;
  MatrixSource<T, kOrderB> b;
  EpilogueOutput<T, DenseRows> c;
  int64_t a_size, b_size, c_size;  // elements of one matrix

  SEGRT_DEVICE void enter_batch(int64_t batch) {
    a.data += batch * a_size;
    b.data += batch * b_size;
    c.y += batch * c_size;
  }
};

// Grid: tiles of all batches. Reads a and b about once from HBM (a once a column of tiles and b once a row of tiles
// from L2), writes c once.
template <typename Math, Contiguous kOrderA, Contiguous kOrderB>
__global__ void __launch_bounds__(kTileThreads)
    matmul_kernel(MatmulProblem<typename Math::Input, kOrderA, kOrderB> problem, int tiles, int column_tiles) {
  using Tile = GemmTile<Math, kColumns, kOrderA, kOrderB>;
  auto& shared = block_shared<typename Tile::Shared>();
  problem.enter_batch(block_index().x / tiles);
  const TilePlace place = tile_place<Tile>(block_index().x % tiles, column_tiles);
  typename Tile::Sums sums;
  const int steps = ceil_div(problem.a.depths, Tile::kDepth);
  Tile::multiply(shared, problem.a, problem.b, place.row, place.column, 0, steps, sums);
  Tile::write(shared, sums, place.row, place.column, problem.c);
}

template <typename Math, Contiguous kOrderA, Contiguous kOrderB>
void run(const Tensor& a, const Tensor& b, const Tensor* bias, Tensor& c) {
  using T = typename Math::Input;
  const int rows = narrow("matmul", "rows", c.dim(-2)), columns = narrow("matmul", "columns", c.dim(-1));
  const int depths = narrow("matmul", "terms of a sum", a.dim(kOrderA == Contiguous::depth ? -1 : -2));
  const int64_t batches = c.rank() == 3 ? c.dim(0) : 1;
  const int64_t column_tiles = ceil_div(columns, kColumns), tiles = blocks_for(rows, kTileRows) * column_tiles;
  const MatmulProblem<T, kOrderA, kOrderB> problem = {.a = matrix_source<T, kOrderA>("matmul", a, rows, depths),
                                                      .b = matrix_source<T, kOrderB>("matmul", b, columns, depths),
                                                      .c = {.map = {columns, rows},
                                                            .y = c.data<T>(),
                                                            .residual = nullptr,
                                                            .bias = bias ? bias->data<float>() : nullptr,
                                                            .columns = columns,
                                                            .relu = false,
                                                            .silu = false,
                                                            .vectors = is_aligned(c.raw()) && columns % kVec<T> == 0},
                                                      .a_size = int64_t{rows} * depths,
                                                      .b_size = int64_t{depths} * columns,
                                                      .c_size = int64_t{rows} * columns};
  launch(a.device(), matmul_kernel<Math, kOrderA, kOrderB>, {.grid = tiles * batches, .block = kTileThreads}, problem,
         tiles, column_tiles);
}

}  // namespace

void matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options, Tensor& c) {
  dispatch_math(a, [&]<typename Math>() {
    constexpr Contiguous kDepth = Contiguous::depth, kRows = Contiguous::rows;
    if (options.transpose_a)
      options.transpose_b ? run<Math, kRows, kDepth>(a, b, options.bias, c)
                          : run<Math, kRows, kRows>(a, b, options.bias, c);
    else
      options.transpose_b ? run<Math, kDepth, kDepth>(a, b, options.bias, c)
                          : run<Math, kDepth, kRows>(a, b, options.bias, c);
  });
}

}  // namespace segrt::kernels::cuda
