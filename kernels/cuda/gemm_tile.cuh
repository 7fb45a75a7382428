// The tile that convolutions and matrix products share: a block of 256 threads computes 128 x Columns outputs.
//
// A source says where an operand's elements are: `Row row(int)` and `Depth depth(int)` resolve one coordinate each
// (once a launch for rows, once a step for depth), `Vec load(Row, Depth)` reads kVec elements from there on along the
// contiguous index, zeros outside, and `Found find(Row, Depth)` says where they are, if a source has aligned vectors
// (pipelined_tile.cuh copies them). An output says what becomes of sums: operator()(patch, row, column) takes a warp's
// 16 x 32 patch whose corner is at (row, column) of the product.
//
// A step of 64 bytes of depth reads (128 + Columns) * 64 bytes from L2 for 128 * Columns * (16 or 32) multiply-adds.
// Shared memory: 33 to 40 KiB for 128 columns, 25 to 30 KiB for 64. Registers (nvcc 13.0, sm_90; none spills): 76 to
// 128 a thread for 64 columns, so two blocks fit a processor; for 128 columns 127 to 190 on tensor cores and up to 217
// in exact float32, where above 128 one block does.
#pragma once

#include <string>
#include <string_view>

#include "core/error.h"
#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/gemm_sums.cuh"
#include "kernels/dispatch.h"
#include "kernels/math_mode.h"

namespace segrt::kernels::cuda {

// kVec elements of an operand, which are zeros where there are none; `at` can be read in any case.
template <typename T>
struct Found {
  const T* at;
  bool exists;
};

constexpr int kTileThreads = 256, kTileWarps = kTileThreads / kWarpSize;
constexpr int kTileRows = 128;

// A thread's share of moving one operand: kCount 16-byte vectors a step, from global memory into registers, and after
// the step's products from there into shared memory. Neighbouring threads move neighbouring vectors.
template <typename Tile, typename Source>
class OperandMover {
 public:
  SEGRT_DEVICE OperandMover(const Source& source, int first_row) {
#pragma unroll
    for (int v = 0; v < kCount; ++v) rows_[v] = source.row(first_row + tile_row(v));
  }
  SEGRT_DEVICE void load(const Source& source, int first_depth) {
#pragma unroll
    for (int v = 0; v < kCount; ++v) vectors_[v] = source.load(rows_[v], source.depth(first_depth + tile_depth(v)));
  }
  SEGRT_DEVICE void store(Tile& tile) const {
#pragma unroll
    for (int v = 0; v < kCount; ++v) store_vec(tile.at(tile_row(v), tile_depth(v)), vectors_[v]);
  }

 private:
  using T = typename Tile::Element;
  static constexpr bool kAlongDepth = Tile::kContiguous == Contiguous::depth;
  static constexpr int kCount = Tile::kVectors / kTileThreads;
  static constexpr int kVectorsInLine = (kAlongDepth ? Tile::kDepth : Tile::kRows) / kVec<T>;
  static_assert(kCount * kTileThreads == Tile::kVectors && kTileThreads % kVectorsInLine == 0);

  SEGRT_DEVICE static int line(int v) { return (thread_index().x + v * kTileThreads) / kVectorsInLine; }
  SEGRT_DEVICE static int position() { return thread_index().x % kVectorsInLine * kVec<T>; }
  SEGRT_DEVICE static int tile_row(int v) { return kAlongDepth ? line(v) : position(); }
  SEGRT_DEVICE static int tile_depth(int v) { return kAlongDepth ? position() : line(v); }

  typename Source::Row rows_[kCount];
  Vec<T, kVec<T>> vectors_[kCount];
};

template <typename Math, int Columns, Contiguous kOrderA, Contiguous kOrderB>
struct GemmTile {
  using T = typename Math::Input;
  static constexpr int kThreads = kTileThreads, kBlocksAProcessor = 1;
  static constexpr int kRows = kTileRows, kColumns = Columns;
  static constexpr size_t kDynamicShared = 0;
  using TileA = OperandTile<T, kTileRows, kOrderA>;
  using TileB = OperandTile<T, Columns, kOrderB>;
  static constexpr int kDepth = TileA::kDepth;  // of one step
  static constexpr int kWarpsAcross = Columns / kPatchColumns, kWarpsDown = kTileWarps / kWarpsAcross;
  static constexpr int kSlices = kTileRows / (kSliceRows * kWarpsDown);  // 2 for 64 columns, 4 for 128
  using Sums = WarpSums<Math, kSlices>;

  struct Operands {
    TileA a;
    TileB b;
  };
  union Shared {
    Operands operands[2];                                  // one is read while the other is filled
    float patches[kTileWarps][kSliceRows * kPatchStride];  // afterwards: sums on their way out
  };
  static_assert(sizeof(Shared) <= 48 * 1024);
  SEGRT_DEVICE static Shared& shared() { return block_shared<Shared>(); }

  // sums += A[row.., begin*kDepth .. end*kDepth) B[.., column..]. One barrier a step: the loads of the next step are in
  // flight during the products of this one, and land in the buffer that every warp left before the last barrier.
  template <typename SourceA, typename SourceB>
  SEGRT_DEVICE static void multiply(Shared& shared, const SourceA& a, const SourceB& b, int row, int column, int begin,
                                    int end, Sums& sums) {
    OperandMover<TileA, SourceA> mover_a(a, row);
    OperandMover<TileB, SourceB> mover_b(b, column);
    if (begin < end) {
      mover_a.load(a, begin * kDepth);
      mover_b.load(b, begin * kDepth);
      mover_a.store(shared.operands[0].a);
      mover_b.store(shared.operands[0].b);
    }
    sync_block();
    for (int step = begin; step < end; ++step) {
      const Operands& current = shared.operands[(step - begin) % 2];
      Operands& next = shared.operands[(step - begin + 1) % 2];
      const bool more = step + 1 < end;
      if (more) {
        mover_a.load(a, (step + 1) * kDepth);
        mover_b.load(b, (step + 1) * kDepth);
      }
      sums.multiply(current.a, current.b, warp_row(), warp_column());
      if (more) {
        mover_a.store(next.a);
        mover_b.store(next.b);
      }
      sync_block();
    }
  }

  // After multiply, whose last barrier has freed the operands' memory for the patches.
  template <typename Output>
  SEGRT_DEVICE static void write(Shared& shared, const Sums& sums, int row, int column, const Output& output) {
    float* patch = shared.patches[warp_index()];
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice) {
      sums.store(slice, patch);
      sync_warp();
      output(patch, row + warp_row() + slice * kSliceRows, column + warp_column());
      sync_warp();
    }
  }

  SEGRT_DEVICE static int warp_row() { return warp_index() / kWarpsAcross * kSlices * kSliceRows; }
  SEGRT_DEVICE static int warp_column() { return warp_index() % kWarpsAcross * kPatchColumns; }
};

// An operand that is a plain matrix: element (row, k) at row * stride + k, or at k * stride + row.
// `vectors`: data is aligned to 16 bytes, and stride and the contiguous extent are multiples of kVec.
template <typename T, Contiguous kOrder>
struct MatrixSource {
  using Row = int;
  using Depth = int;
  const T* data;
  int stride, rows, depths;
  bool vectors;

  SEGRT_DEVICE Row row(int index) const { return index; }
  SEGRT_DEVICE Depth depth(int index) const { return index; }
  SEGRT_DEVICE Found<T> find(Row r, Depth k) const {
    const bool exists = r < rows && k < depths;
    return {data + (exists ? offset(r, k) : 0), exists};
  }
  SEGRT_DEVICE Vec<T, kVec<T>> load(Row r, Depth k) const {
    constexpr bool kAlongDepth = kOrder == Contiguous::depth;
    const T* p = data + offset(r, k);
    Vec<T, kVec<T>> values{};
    if (r >= rows || k >= depths) return values;
    if (vectors) return load_vec<T, kVec<T>>(p);
    const int left = kAlongDepth ? depths - k : rows - r;
#pragma unroll
    for (int v = 0; v < kVec<T>; ++v)
      if (v < left) values[v] = p[v];
    return values;
  }

 private:
  SEGRT_DEVICE int64_t offset(Row r, Depth k) const {
    return kOrder == Contiguous::depth ? int64_t{r} * stride + k : int64_t{k} * stride + r;
  }
};

// An output with bias, residual and activation: y[r, c] = act(sum + bias[c] + residual[r, c]). RowMap gives the offset of row
// r in y, or a negative number where there is no such row. `vectors`: y and residual are aligned to 16 bytes, and rows
// start and columns end at multiples of kVec.
template <typename T, typename RowMap>
struct EpilogueOutput {
  RowMap map;
  T* y;
  const T* residual;  // null: none; may be y
  const float* bias;  // null: none
  int columns;
  bool relu, silu, vectors;

  SEGRT_DEVICE void operator()(const float* patch, int row, int column) const {
    if (vectors)
      write<kVec<T>>(patch, row, column);
    else
      write<1>(patch, row, column);
  }

 private:
  template <int K>
  SEGRT_DEVICE void write(const float* patch, int row, int column) const {
    for (int e = lane_index() * K; e < kSliceRows * kPatchColumns; e += kWarpSize * K) {
      const int r = e / kPatchColumns, c = e % kPatchColumns;
      const int64_t start = map.offset(row + r);
      if (start < 0 || column + c >= columns) continue;
      const int64_t at = start + column + c;
      Vec<T, K> added{}, out;
      if (residual) added = load_vec<T, K>(residual + at);
#pragma unroll
      for (int v = 0; v < K; ++v) {
        float value = patch[r * kPatchStride + c + v];
        if (bias) value += bias[column + c + v];
        if (residual) value += to_float(added[v]);
        out[v] = from_float<T>(conv_activation(value, relu, silu));
      }
      store_vec(y + at, out);
    }
  }
};

// Rows that follow each other at a fixed distance.
struct DenseRows {
  int64_t stride;
  int rows;
  SEGRT_DEVICE int64_t offset(int row) const { return row < rows ? row * stride : -1; }
};

// Calls f.template operator()<Math>() with what multiplies elements of x.
template <typename F>
void dispatch_math(const Tensor& x, F&& f) {
  if (x.dtype() == DType::f32 && !x.device().state<MathMode>().tf32) return f.template operator()<ExactFloat>();
  dispatch_float(x.dtype(), [&]<typename T>() { f.template operator()<TensorCore<T>>(); });
}

// Sizes that the kernels count in 32 bits, tile overhang included.
inline int narrow(std::string_view op, std::string_view what, int64_t value) {
  if (value > (int64_t{1} << 31) - 256)
    throw ArgumentError(std::string(op) + " on cuda: " + std::string(what) + ": expected less than 2^31 - 256, got " +
                        std::to_string(value));
  return static_cast<int>(value);
}

// The last two dimensions of t: [rows, depths] in memory where depth is contiguous, [depths, rows] where rows are.
template <typename T, Contiguous kOrder>
MatrixSource<T, kOrder> matrix_source(std::string_view op, const Tensor& t, int rows, int depths) {
  const int stride = narrow(op, "columns", t.dim(-1));
  return {t.data<T>(), stride, rows, depths, is_aligned(t.raw()) && stride % kVec<T> == 0};
}

// Which tile a block computes. Blocks that share rows are neighbours, so that the rows are fetched once and then found
// in L2; `column_tiles` of them follow each other.
struct TilePlace {
  int row, column;
};
template <typename Tile>
SEGRT_DEVICE TilePlace tile_place(int block, int column_tiles) {
  return {block / column_tiles * Tile::kRows, block % column_tiles * Tile::kColumns};
}

}  // namespace segrt::kernels::cuda
