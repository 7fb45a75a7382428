// The tile of implicit GEMM for 16-bit operands that move in 16-byte vectors: a block of four warps computes Rows x
// Columns outputs on tensor cores. Sources and outputs are those of gemm_tile.cuh.
//
// Depth is walked in steps of 32. kStages steps are in shared memory: while one is multiplied, the copies of the next
// kStages - 1 are in flight (async_copy.h), so memory has the time of that many products to answer, and nothing waits
// in registers meanwhile. A warp multiplies a patch of up to 64 x 64: it loads (Rows + Columns) / 16 sets of 8 x 8
// matrices from shared memory for Rows * Columns / 128 products, which for 64 x 64 keeps shared memory slower than its
// limit. docs/convolution_kernels.md has the figures.
#pragma once

#include "kernels/cuda/async_copy.h"
#include "kernels/cuda/gemm_tile.cuh"
#include "kernels/cuda/tensor_core.h"
#include "kernels/cuda/tile_choice.h"

namespace segrt::kernels::cuda {

constexpr int kPipelineThreads = 128, kPipelineWarps = kPipelineThreads / kWarpSize;
constexpr int kStages = 4;
constexpr int kStepDepth = 32;

// An Extent x kStepDepth piece of an operand in shared memory, as lines of 16-byte vectors in the order of global
// memory. ldmatrix reads one vector of each of eight neighbouring lines, which must lie in different banks (128 bytes
// are one turn of all banks): so a line's vectors are permuted, by the line's number where a line fills all banks, by
// half of it where two lines do.
template <typename T, int Extent, Contiguous kOrder>
struct SwizzledTile {
  static constexpr Contiguous kContiguous = kOrder;
  static constexpr int kLines = kOrder == Contiguous::depth ? Extent : kStepDepth;
  static constexpr int kLineVectors = (kOrder == Contiguous::depth ? kStepDepth : Extent) / kVec<T>;
  static_assert(sizeof(T) == 2 && (kLineVectors == 4 || kLineVectors % 8 == 0));

  alignas(128) T values[kLines * kLineVectors * kVec<T>];

  SEGRT_DEVICE static int index(int line, int vector) {
    const int permuted = kLineVectors == 4 ? vector ^ (line / 2 % 4) : vector ^ (line % 8);
    return (line * kLineVectors + permuted) * kVec<T>;
  }
  SEGRT_DEVICE T* at(int line, int vector) { return values + index(line, vector); }

  // Where this lane's row of the four 8 x 8 matrices at (row, k) starts, both multiples of 16; whether ldmatrix shall
  // transpose depends on the order. Matrices 1 and 2 of A are at (8, 0) and (0, 8), of a pair of Bs at (0, 8) and (8,
  // 0).
  SEGRT_DEVICE const T* matrices(int row, int k, bool first_along_row) const {
    const int lane = lane_index(), first = lane / 8 % 2 * 8, second = lane / 16 * 8;
    const int r = row + (first_along_row ? first : second), depth = k + (first_along_row ? second : first);
    if constexpr (kOrder == Contiguous::depth) return values + index(r + lane % 8, depth / kVec<T>);
    return values + index(depth + lane % 8, r / kVec<T>);
  }
};

// A thread's share of copying one operand's step. Neighbouring threads copy neighbouring vectors of a line; a thread's
// vectors are at the same place of different lines, so of row and depth one is the same for all of them.
template <typename Tile, typename Source>
class OperandCopier {
 public:
  SEGRT_DEVICE OperandCopier(const Source& source, int first_row) {
#pragma unroll
    for (int v = 0; v < kRowsKept; ++v) rows_[v] = source.row(first_row + (kAlongDepth ? line(v) : position()));
  }
  SEGRT_DEVICE void copy(Tile& tile, const Source& source, int first_depth) const {
    if constexpr (kAlongDepth) {
      const auto depth = source.depth(first_depth + position());
#pragma unroll
      for (int v = 0; v < kCount; ++v) copy(tile, v, source.find(rows_[v], depth));
    } else {
#pragma unroll
      for (int v = 0; v < kCount; ++v) copy(tile, v, source.find(rows_[0], source.depth(first_depth + line(v))));
    }
  }

 private:
  static constexpr bool kAlongDepth = Tile::kContiguous == Contiguous::depth;
  static constexpr int kThreadsALine = Tile::kLineVectors;
  static constexpr int kCount = Tile::kLines * Tile::kLineVectors / kPipelineThreads;
  static constexpr int kRowsKept = kAlongDepth ? kCount : 1;
  static_assert(kCount * kPipelineThreads == Tile::kLines * Tile::kLineVectors);

  SEGRT_DEVICE static int vector() { return thread_index().x % kThreadsALine; }
  SEGRT_DEVICE static int position() { return vector() * 8; }
  SEGRT_DEVICE static int line(int v) {
    return thread_index().x / kThreadsALine + v * (kPipelineThreads / kThreadsALine);
  }
  template <typename Place>
  SEGRT_DEVICE static void copy(Tile& tile, int v, const Place& from) {
    copy_async<16>(tile.at(line(v), vector()), from.at, from.exists);
  }

  typename Source::Row rows_[kRowsKept];
};

// What one warp accumulates: a Rows x Columns patch of float32 sums, 4 registers for each 16 x 8.
template <typename T, int Rows, int Columns>
class WarpProduct {
 public:
  static constexpr int kSlices = Rows / 16, kPairs = Columns / 16;

  SEGRT_DEVICE WarpProduct() {
#pragma unroll
    for (int i = 0; i < kSlices; ++i)
#pragma unroll
      for (int j = 0; j < 2 * kPairs; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) sums_[i][j][e] = 0.0f;
  }

  // sums += A[row.., :] B[:, column..]
  template <typename TileA, typename TileB>
  SEGRT_DEVICE void multiply(const TileA& a, const TileB& b, int row, int column) {
#pragma unroll
    for (int k = 0; k < kStepDepth; k += 16) {
      FragmentA<T> a_k[kSlices];
      FragmentB<T> b_k[2 * kPairs];
#pragma unroll
      for (int i = 0; i < kSlices; ++i) load(a_k[i], a, row + 16 * i, k);
#pragma unroll
      for (int j = 0; j < kPairs; ++j) load(b_k[2 * j], b_k[2 * j + 1], b, column + 16 * j, k);
#pragma unroll
      for (int i = 0; i < kSlices; ++i)
#pragma unroll
        for (int j = 0; j < 2 * kPairs; ++j) mma_m16n8k16(sums_[i][j], a_k[i], b_k[j]);
    }
  }

  // The 16 x 32 patch whose corner is at (16 * slice, 32 * half) of the warp's, for an output.
  SEGRT_DEVICE void store(int slice, int half, float* patch) const {
    const int row = lane_index() / 4, column = lane_index() % 4 * 2;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const FragmentC& c = sums_[slice][4 * half + j];
      store_vec(patch + row * kPatchStride + 8 * j + column, Vec<float, 2>{{c[0], c[1]}});
      store_vec(patch + (row + 8) * kPatchStride + 8 * j + column, Vec<float, 2>{{c[2], c[3]}});
    }
  }

 private:
  template <typename Tile>
  SEGRT_DEVICE static void load(FragmentA<T>& a, const Tile& tile, int row, int k) {
    if constexpr (Tile::kContiguous == Contiguous::depth)
      ldmatrix_x4(a, tile.matrices(row, k, true));
    else
      ldmatrix_x4_trans(a, tile.matrices(row, k, true));
  }
  template <typename Tile>
  SEGRT_DEVICE static void load(FragmentB<T>& b0, FragmentB<T>& b1, const Tile& tile, int column, int k) {
    if constexpr (Tile::kContiguous == Contiguous::depth)
      ldmatrix_x4(b0, b1, tile.matrices(column, k, false));
    else
      ldmatrix_x4_trans(b0, b1, tile.matrices(column, k, false));
  }

  FragmentC sums_[kSlices][2 * kPairs];
};

// Blocks a processor is asked to hold: registers allow 2 at 128 sums a thread, more at fewer.
template <typename Element, int Rows, int Columns, Contiguous kOrderA, Contiguous kOrderB>
struct PipelinedTile {
  using T = Element;
  using TileA = SwizzledTile<T, Rows, kOrderA>;
  using TileB = SwizzledTile<T, Columns, kOrderB>;
  static constexpr int kThreads = kPipelineThreads, kBlocksAProcessor = Rows * Columns == 128 * 128 ? 2 : 3;
  static constexpr int kRows = Rows, kColumns = Columns, kDepth = kStepDepth;
  static constexpr int kWarpsAcross = Columns > 32 ? 2 : 1, kWarpsDown = kPipelineWarps / kWarpsAcross;
  static constexpr int kWarpRows = Rows / kWarpsDown, kWarpColumns = Columns / kWarpsAcross;
  using Sums = WarpProduct<T, kWarpRows, kWarpColumns>;

  struct Stage {
    TileA a;
    TileB b;
  };
  union Shared {
    Stage stages[kStages];
    float patches[kPipelineWarps][kSliceRows * kPatchStride];  // afterwards: sums on their way out
  };
  static constexpr size_t kDynamicShared = sizeof(Shared);
  SEGRT_DEVICE static Shared& shared() { return *dynamic_shared<Shared>(); }

  // sums += A[row.., begin*kDepth .. end*kDepth) B[.., column..]. One barrier a step. It says two things: everybody's
  // copies of this step have arrived, and every warp has left the stage of the step before, which the copies of step +
  // kStages - 1 may now fill. Each step closes one group of copies, empty or not, so that counting groups counts steps.
  template <typename SourceA, typename SourceB>
  SEGRT_DEVICE static void multiply(Shared& shared, const SourceA& a, const SourceB& b, int row, int column, int begin,
                                    int end, Sums& sums) {
    const OperandCopier<TileA, SourceA> copier_a(a, row);
    const OperandCopier<TileB, SourceB> copier_b(b, column);
    const auto copy_step = [&](int step, int stage) {
      if (step < end) {
        copier_a.copy(shared.stages[stage].a, a, step * kDepth);
        copier_b.copy(shared.stages[stage].b, b, step * kDepth);
      }
      copy_async_commit();
    };
#pragma unroll
    for (int ahead = 0; ahead < kStages - 1; ++ahead) copy_step(begin + ahead, ahead);
    int stage = 0;
    for (int step = begin; step < end; ++step) {
      copy_async_wait<kStages - 2>();
      sync_block();
      copy_step(step + kStages - 1, (stage + kStages - 1) % kStages);
      sums.multiply(shared.stages[stage].a, shared.stages[stage].b, warp_row(), warp_column());
      stage = (stage + 1) % kStages;
    }
    copy_async_wait<0>();
    sync_block();
  }

  // After multiply, whose last barrier has freed the stages' memory for the patches.
  template <typename Output>
  SEGRT_DEVICE static void write(Shared& shared, const Sums& sums, int row, int column, const Output& output) {
    float* patch = shared.patches[warp_index()];
#pragma unroll
    for (int slice = 0; slice < Sums::kSlices; ++slice)
#pragma unroll
      for (int half = 0; half < kWarpColumns / kPatchColumns; ++half) {
        sums.store(slice, half, patch);
        sync_warp();
        output(patch, row + warp_row() + slice * kSliceRows, column + warp_column() + half * kPatchColumns);
        sync_warp();
      }
  }

  SEGRT_DEVICE static int warp_row() { return warp_index() / kWarpsAcross * kWarpRows; }
  SEGRT_DEVICE static int warp_column() { return warp_index() % kWarpsAcross * kWarpColumns; }
};

// Narrow tiles where wide ones would be half empty.
inline bool wide_tiles(int64_t columns) { return columns > 64; }

// Calls f.template operator()<Tile>() with the tile for products of x's type: pipelined where operands move in
// vectors.
template <Contiguous kOrderA, Contiguous kOrderB, typename F>
void dispatch_tile(const Tensor& x, bool vectors, const MatrixProducts& products, F&& f) {
  if (x.dtype() == DType::f32)
    return dispatch_math(x, [&]<typename Math>() {
      if constexpr (std::is_same_v<typename Math::Input, float>) {
        if (wide_tiles(products.columns))
          f.template operator()<GemmTile<Math, 128, kOrderA, kOrderB>>();
        else
          f.template operator()<GemmTile<Math, 64, kOrderA, kOrderB>>();
      }
    });
  const TileShape tile = x.device().state<TilePreference>().tile.value_or(choose_tile(products));
  const auto pipelined = [&]<typename T>() {
    if (!vectors) return f.template operator()<GemmTile<TensorCore<T>, 64, kOrderA, kOrderB>>();
    if (tile == TileShape{128, 128}) return f.template operator()<PipelinedTile<T, 128, 128, kOrderA, kOrderB>>();
    if (tile == TileShape{128, 64}) return f.template operator()<PipelinedTile<T, 128, 64, kOrderA, kOrderB>>();
    if (tile == TileShape{64, 64}) return f.template operator()<PipelinedTile<T, 64, 64, kOrderA, kOrderB>>();
    return f.template operator()<PipelinedTile<T, 128, 32, kOrderA, kOrderB>>();
  };
  x.dtype() == DType::bf16 ? pipelined.template operator()<bf16>() : pipelined.template operator()<f16>();
}

}  // namespace segrt::kernels::cuda
