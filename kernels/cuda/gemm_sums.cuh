// What one warp accumulates of a matrix product: a 16*Slices x 32 patch of float sums, on tensor cores or with exact
// float32 multiply-adds, behind one interface.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/mma.h"

namespace segrt::kernels::cuda {

// What multiplies: ordinary float32 units, or tensor cores on bf16, f16 or (float) tf32.
struct ExactFloat {
  using Input = float;
};
template <typename T>
struct TensorCore {
  using Input = T;
};

constexpr int kSliceRows = 16, kPatchColumns = 32;
// 4 floats of padding: rows start in different banks.
constexpr int kPatchStride = kPatchColumns + 4;

// Which index of an operand runs through consecutive memory: depth, over which products are summed, or rows (the rows
// of A, the columns of B).
enum class Contiguous { depth, rows };

// A Rows x kDepth piece of an operand in shared memory, in the order of global memory so that 16-byte vectors move
// unchanged. 16 bytes of padding: the eight 16-byte rows that one fragment load reads lie in different banks.
template <typename T, int Rows, Contiguous kOrder>
struct OperandTile {
  using Element = T;
  static constexpr Contiguous kContiguous = kOrder;
  static constexpr int kRows = Rows;
  static constexpr int kDepth = 64 / static_cast<int>(sizeof(T));
  static constexpr int kStride = (kOrder == Contiguous::depth ? kDepth : Rows) + kVec<T>;
  static constexpr int kVectors = Rows * kDepth / kVec<T>;

  alignas(32) T values[(kOrder == Contiguous::depth ? Rows : kDepth) * kStride];

  SEGRT_DEVICE static int index(int row, int k) {
    return kOrder == Contiguous::depth ? row * kStride + k : k * kStride + row;
  }
  SEGRT_DEVICE const T* at(int row, int k) const { return values + index(row, k); }
  SEGRT_DEVICE T* at(int row, int k) { return values + index(row, k); }
};

template <typename Math, int Slices>
class WarpSums;

// Lane l owns rows 16 s + 8 e + l / 4 and columns 4 j + l % 4: whichever way a tile is stored, the 8 rows and 4 columns
// that a warp reads at once lie in different banks. 16 Slices sums and 8 + 1 operands in registers.
template <int Slices>
class WarpSums<ExactFloat, Slices> {
 public:
  SEGRT_DEVICE WarpSums() {
#pragma unroll
    for (int s = 0; s < Slices; ++s)
      for (int e = 0; e < 2; ++e)
        for (int j = 0; j < 8; ++j) sums_[s][e][j] = 0.0f;
  }

  // sums += A[row.., :] B[:, column..]
  template <typename A, typename B>
  SEGRT_DEVICE void multiply(const A& a, const B& b, int row, int column) {
    const int own_row = row + lane_index() / 4, own_column = column + lane_index() % 4;
#pragma unroll 4
    for (int k = 0; k < A::kDepth; ++k) {
      float b_k[8];
#pragma unroll
      for (int j = 0; j < 8; ++j) b_k[j] = *b.at(own_column + 4 * j, k);
#pragma unroll
      for (int s = 0; s < Slices; ++s)
        for (int e = 0; e < 2; ++e) {
          const float a_k = *a.at(own_row + 16 * s + 8 * e, k);
          for (int j = 0; j < 8; ++j) sums_[s][e][j] += a_k * b_k[j];
        }
    }
  }

  SEGRT_DEVICE void store(int slice, float* patch) const {
#pragma unroll
    for (int e = 0; e < 2; ++e)
      for (int j = 0; j < 8; ++j)
        patch[(8 * e + lane_index() / 4) * kPatchStride + 4 * j + lane_index() % 4] = sums_[slice][e][j];
  }

 private:
  float sums_[Slices][2][8];
};

// 2 Slices accumulator fragments. A step of kMmaK loads Slices + 2 operand fragments for 2 Slices products.
template <typename T, int Slices>
class WarpSums<TensorCore<T>, Slices> {
 public:
  SEGRT_DEVICE WarpSums() {
#pragma unroll
    for (int s = 0; s < Slices; ++s)
      for (int j = 0; j < 2; ++j) mma_fill(sums_[s][j], 0.0f);
  }

  template <typename A, typename B>
  SEGRT_DEVICE void multiply(const A& a, const B& b, int row, int column) {
    constexpr MmaLayout kLayoutA = A::kContiguous == Contiguous::depth ? MmaLayout::row_major : MmaLayout::col_major;
    constexpr MmaLayout kLayoutB = B::kContiguous == Contiguous::depth ? MmaLayout::col_major : MmaLayout::row_major;
#pragma unroll
    for (int k = 0; k < A::kDepth; k += kMmaK<T>) {
      MmaB<T, kLayoutB> b_k[2];
      for (int j = 0; j < 2; ++j) mma_load(b_k[j], b.at(column + 16 * j, k), B::kStride);
#pragma unroll
      for (int s = 0; s < Slices; ++s) {
        MmaA<T, kLayoutA> a_k;
        mma_load(a_k, a.at(row + 16 * s, k), A::kStride);
        for (int j = 0; j < 2; ++j) mma_sync(sums_[s][j], a_k, b_k[j]);
      }
    }
  }

  SEGRT_DEVICE void store(int slice, float* patch) const {
    for (int j = 0; j < 2; ++j) mma_store(patch + 16 * j, sums_[slice][j], kPatchStride);
  }

 private:
  MmaAccumulator<T> sums_[Slices][2];
};

}  // namespace segrt::kernels::cuda
