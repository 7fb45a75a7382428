// Winograd's minimal filtering F(4x4, 3x3): 4x4 outputs of a 3x3 correlation from a 6x6 input tile with 36 instead of
// 144 multiplications (Lavin & Gray 2016, arXiv:1509.09308):
//   Y = A^T [ (G g G^T) * (B^T d B) ] A,   element-wise product, summed over channels before A.
// The transforms here are one-dimensional, on vectors of channels; the nodes are 0, +-a, +-b, infinity with
// a = 1/sqrt(2), b = sqrt(2) instead of the usual 0, +-1, +-2: the same cost and half the rounding error (relative
// error 7e-7 over 64 channels in order against 1.6e-6, and 3e-7 of a direct sum; see winograd_multiply.h).
//
//         [1  0  -5/2  0  1  0]         [ 1    0    0 ]
//         [0 -b   -2   a  1  0]         [-2/3 -2a/3 -1/3]         [1  1    1    1    1  0]
//   B^T = [0  b   -2  -a  1  0]    G =  [-2/3  2a/3 -1/3]   A^T = [0  a   -a    b   -b  0]
//         [0 -a  -1/2  b  1  0]         [1/6  b/6  1/3]           [0 1/2  1/2   2    2  0]
//         [0  a  -1/2 -b  1  0]         [1/6 -b/6  1/3]           [0 a/2 -a/2  2b  -2b  1]
//         [0  1   0 -5/2  0  1]         [ 0    0    1 ]
#pragma once

#include "kernels/cpu/vector_math.h"

namespace segrt::kernels::cpu::winograd {

inline constexpr int kTile = 6, kOutput = 4, kFilter = 3, kPoints = kTile * kTile;
inline constexpr float kA = 0.70710678118654752f, kB = 1.41421356237309505f;

using Vector = Lanes<float>;

// t = B^T d.
inline void input_transform(const Vector d[6], Vector t[6]) {
  const Vector even_a = d[4] - 2.0f * d[2], odd_a = kA * d[3] - kB * d[1];
  const Vector even_b = d[4] - 0.5f * d[2], odd_b = kB * d[3] - kA * d[1];
  t[0] = d[0] - 2.5f * d[2] + d[4];
  t[1] = even_a + odd_a;
  t[2] = even_a - odd_a;
  t[3] = even_b + odd_b;
  t[4] = even_b - odd_b;
  t[5] = d[1] - 2.5f * d[3] + d[5];
}

// y = A^T m.
inline void output_transform(const Vector m[6], Vector y[4]) {
  const Vector sum_a = m[1] + m[2], difference_a = m[1] - m[2];
  const Vector sum_b = m[3] + m[4], difference_b = m[3] - m[4];
  y[0] = m[0] + sum_a + sum_b;
  y[1] = kA * difference_a + kB * difference_b;
  y[2] = 0.5f * sum_a + 2.0f * sum_b;
  y[3] = m[5] + (0.5f * kA) * difference_a + (2.0f * kB) * difference_b;
}

// m = A y: the adjoint of output_transform, for weight gradients.
inline void output_adjoint(const Vector y[4], Vector m[6]) {
  const Vector even_a = y[0] + 0.5f * y[2], odd_a = kA * y[1] + (0.5f * kA) * y[3];
  const Vector even_b = y[0] + 2.0f * y[2], odd_b = kB * y[1] + (2.0f * kB) * y[3];
  m[0] = y[0];
  m[1] = even_a + odd_a;
  m[2] = even_a - odd_a;
  m[3] = even_b + odd_b;
  m[4] = even_b - odd_b;
  m[5] = y[3];
}

// u = G g.
inline void filter_transform(const Vector g[3], Vector u[6]) {
  const Vector even_a = (-2.0f / 3) * g[0] - (1.0f / 3) * g[2], odd_a = (-2.0f / 3 * kA) * g[1];
  const Vector even_b = (1.0f / 6) * g[0] + (1.0f / 3) * g[2], odd_b = (1.0f / 6 * kB) * g[1];
  u[0] = g[0];
  u[1] = even_a + odd_a;
  u[2] = even_a - odd_a;
  u[3] = even_b + odd_b;
  u[4] = even_b - odd_b;
  u[5] = g[2];
}

// g = G^T u: the adjoint of filter_transform, for weight gradients.
inline void filter_adjoint(const Vector u[6], Vector g[3]) {
  const Vector sum_a = u[1] + u[2], difference_a = u[1] - u[2];
  const Vector sum_b = u[3] + u[4], difference_b = u[3] - u[4];
  g[0] = u[0] - (2.0f / 3) * sum_a + (1.0f / 6) * sum_b;
  g[1] = (-2.0f / 3 * kA) * difference_a + (1.0f / 6 * kB) * difference_b;
  g[2] = u[5] - (1.0f / 3) * sum_a + (1.0f / 3) * sum_b;
}

// Applies a one-dimensional transform to the columns, then to the rows of a square: out = T in T^T. load(i, j) gives
// in, store(i, j, v) takes out.
template <int In, int Out, typename Transform, typename Load, typename Store>
inline void transform_square(const Transform& transform, const Load& load_at, const Store& store_at) {
  Vector half[Out][In];
#pragma GCC unroll 6
  for (int j = 0; j < In; ++j) {
    Vector column[In], transformed[Out];
#pragma GCC unroll 6
    for (int i = 0; i < In; ++i) column[i] = load_at(i, j);
    transform(column, transformed);
#pragma GCC unroll 6
    for (int i = 0; i < Out; ++i) half[i][j] = transformed[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < Out; ++i) {
    Vector transformed[Out];
    transform(half[i], transformed);
#pragma GCC unroll 6
    for (int j = 0; j < Out; ++j) store_at(i, j, transformed[j]);
  }
}

}  // namespace segrt::kernels::cpu::winograd
