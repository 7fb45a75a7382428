// The products in the middle of a Winograd convolution: at each of the 36 points a [tiles, channels] x [channels,
// outputs] matrix product on packed operands.
#pragma once

#include <algorithm>
#include <utility>

#include "kernels/cpu/vector_math.h"

namespace segrt::kernels::cpu::winograd {

// A register block of kPanelRows x 2 vectors: its sums, two vectors of u and one of v fill the register file.
#if defined(__AVX512F__)
inline constexpr int kPanelRows = 14;
#else
inline constexpr int kPanelRows = 6;
#endif
inline constexpr int kPanelVectors = 2;

// m[r * row_stride + s * vector_stride + lane] = sum_k v(r, k) u(k, s, lane) for Rows rows and kPanelVectors vectors.
// v: blocks of kLanes channels, each [kPanelRows][kLanes]; u: [channels][kPanelVectors][kLanes].
struct PanelProduct {
  const float *v, *u;
  const float* next_u;  // this many elements are needed soon and brought into the second-level cache meanwhile
  int64_t next_size;
  float* m;
  int64_t channel_blocks, row_stride, vector_stride;
};

// Vectors of channels that are summed in order, before their sum is added to those of other such pieces. A sum of n
// terms in order strays by about sqrt(n) roundings, which the transform behind it magnifies: over 512 channels
// by 2.1e-6 (relative), in pieces of 32 by 7e-7, less than a direct convolution in order. Pieces of 32 cost 1 to 3 % of
// the time, of 16 6 to 8 %.
inline constexpr int kPieceBlocks = 32 / kLanes<float>;

template <int Rows>
void multiply_rows(const PanelProduct& p) {
  constexpr int kWidth = kLanes<float>;
  constexpr int kAhead = 32 * kPanelVectors;  // u streams from the second-level cache, whose latency this hides
  const float *v = p.v, *u = p.u, *next = p.next_u;
  const int64_t ahead = p.next_size / p.channel_blocks;
  for (int64_t first = 0; first < p.channel_blocks; first += kPieceBlocks) {
    const int64_t end_block = std::min<int64_t>(first + kPieceBlocks, p.channel_blocks);
    Lanes<float> sums[Rows][kPanelVectors] = {};
    for (int64_t block = first; block < end_block; ++block) {
#pragma GCC unroll 4
      for (int k = 0; k < kWidth; ++k) {
        const Lanes<float> u0 = load(u), u1 = load(u + kWidth);
        for (int s = 0; s < kPanelVectors; ++s) __builtin_prefetch(u + (kAhead + s) * kWidth);
#pragma GCC unroll 16
        for (int r = 0; r < Rows; ++r) {
          const Lanes<float> vr = broadcast(v[r * kWidth + k]);
          sums[r][0] += vr * u0;
          sums[r][1] += vr * u1;
        }
        u += kPanelVectors * kWidth;
      }
      v += kPanelRows * kWidth;
      for (const float* end = next + ahead; next < end; next += kWidth) __builtin_prefetch(next, 0, 2);
    }
    const auto sum_of_pieces = [&](int r, int s) { return p.m + r * p.row_stride + s * p.vector_stride; };
    if (first > 0) {
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
        for (int s = 0; s < kPanelVectors; ++s) sums[r][s] += load(sum_of_pieces(r, s));
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
      for (int s = 0; s < kPanelVectors; ++s) store(sum_of_pieces(r, s), sums[r][s]);
  }
}

// The last panel has fewer rows; each count is a kernel of its own, with its sums in registers.
template <int... Rows>
void multiply_rows(int rows, const PanelProduct& p, std::integer_sequence<int, Rows...>) {
  static_cast<void>(((rows == Rows + 1 && (multiply_rows<Rows + 1>(p), true)) || ...));
}
inline void multiply(int rows, const PanelProduct& p) {
  multiply_rows(rows, p, std::make_integer_sequence<int, kPanelRows>());
}

}  // namespace segrt::kernels::cpu::winograd
