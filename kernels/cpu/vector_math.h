// Vectors of the CPU's width through the compiler's vector extension, and the exponential that softmax needs. Loops
// over float reductions do not vectorise without -ffast-math, and std::exp not at all; these do, on any instruction
// set.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "core/dtype.h"

namespace segrt::kernels::cpu {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

namespace detail {
template <typename A>
struct LanesOf {
  typedef A type __attribute__((vector_size(kVectorBytes)));
};
template <typename A>
using integer_of = std::conditional_t<sizeof(A) == 8, int64_t, int32_t>;
}  // namespace detail

// kLanes<A> values of A = float or double; arithmetic and comparisons are lane by lane.
template <typename A>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(A));
template <typename A>
using Lanes = typename detail::LanesOf<A>::type;
// Lane masks (0 or -1) and lane integers of the same width.
template <typename A>
using IntegerLanes = typename detail::LanesOf<detail::integer_of<A>>::type;

template <typename A>
inline Lanes<A> load(const A* p) {
  Lanes<A> v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
template <typename A>
inline void store(A* p, const Lanes<A>& v) {
  std::memcpy(p, &v, sizeof(v));
}
template <typename A>
inline Lanes<A> broadcast(A value) {
  return value - Lanes<A>{};
}
template <typename A>
inline IntegerLanes<A> broadcast_integer(int64_t value) {
  return static_cast<detail::integer_of<A>>(value) - IntegerLanes<A>{};
}
template <typename A>
inline IntegerLanes<A> lane_numbers() {
  IntegerLanes<A> v{};
  for (int i = 0; i < kLanes<A>; ++i) v[i] = i;
  return v;
}

namespace detail {
template <int kStep, typename V, size_t... kLane>
inline V exchange_lanes(const V& v, std::index_sequence<kLane...>) {
  return __builtin_shufflevector(v, v, static_cast<int>(kLane ^ kStep)...);
}
}  // namespace detail

// Combines lane i with lane i ^ step, step = lanes/2 ... 1: log2(lanes) operations in a fixed order.
template <typename A, int kStep = kLanes<A> / 2, typename Op>
inline A reduce(const Lanes<A>& v, const Op& op) {
  if constexpr (kStep == 0)
    return v[0];
  else
    return reduce<A, kStep / 2>(op(v, detail::exchange_lanes<kStep>(v, std::make_index_sequence<kLanes<A>>())), op);
}
template <typename A>
inline A reduce_sum(const Lanes<A>& v) {
  return reduce<A>(v, [](const Lanes<A>& a, const Lanes<A>& b) { return a + b; });
}
template <typename A>
inline A reduce_max(const Lanes<A>& v) {
  return reduce<A>(v, [](const Lanes<A>& a, const Lanes<A>& b) { return a > b ? a : b; });
}

// e^x for x <= 88 with a relative error below 1.5 * 2^-23 (measured over all floats, see the test); 0 below -87.3,
// where the result would be subnormal; a NaN stays one. x = n ln 2 + r, |r| <= ln(2)/2, e^x = 2^n e^r; the polynomial
// is the minimax fit of (e^r - 1 - r) / r^2 of degree 4 (relative error of e^r: 3e-9).
inline Lanes<float> exp_lanes(const Lanes<float>& x) {
  constexpr float kLog2e = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  constexpr float kRound = 12582912.0f;
  const Lanes<float> shifted = x * kLog2e + kRound;
  const Lanes<float> n = shifted - kRound;
  const Lanes<float> r = (x - n * kLn2High) - n * kLn2Low;
  Lanes<float> p = r * 1.3814540579915047e-3f + 8.36874544620514e-3f;
  p = p * r + 4.166838899254799e-2f;
  p = p * r + 1.666652113199234e-1f;
  p = p * r + 4.999999403953552e-1f;
  p = p * (r * r) + r + 1.0f;
  const auto power = (std::bit_cast<IntegerLanes<float>>(shifted) + 127) << 23;
  const Lanes<float> y = p * std::bit_cast<Lanes<float>>(power);
  return x < -87.33f ? Lanes<float>{} : y;
}
inline Lanes<double> exp_lanes(const Lanes<double>& x) {
  Lanes<double> y{};
  for (int i = 0; i < kLanes<double>; ++i) y[i] = std::exp(x[i]);
  return y;
}

// The largest of n values, -infinity if there are none. NaNs may or may not be seen.
template <typename A>
inline A row_max(const A* p, int64_t n) {
  A m = -std::numeric_limits<A>::infinity();
  int64_t i = 0;
  if (n >= kLanes<A>) {
    Lanes<A> largest = load(p);
    for (i = kLanes<A>; i + kLanes<A> <= n; i += kLanes<A>) {
      const Lanes<A> v = load(p + i);
      largest = largest > v ? largest : v;
    }
    m = reduce_max<A>(largest);
  }
  for (; i < n; ++i) m = p[i] > m ? p[i] : m;
  return m;
}
template <typename A>
inline A row_sum(const A* p, int64_t n) {
  A sum = 0;
  int64_t i = 0;
  if (n >= kLanes<A>) {
    Lanes<A> sums = load(p);
    for (i = kLanes<A>; i + kLanes<A> <= n; i += kLanes<A>) sums += load(p + i);
    sum = reduce_sum<A>(sums);
  }
  for (; i < n; ++i) sum += p[i];
  return sum;
}
template <typename A>
inline A row_dot(const A* p, const A* q, int64_t n) {
  A sum = 0;
  int64_t i = 0;
  if (n >= kLanes<A>) {
    Lanes<A> sums = load(p) * load(q);
    for (i = kLanes<A>; i + kLanes<A> <= n; i += kLanes<A>) sums += load(p + i) * load(q + i);
    sum = reduce_sum<A>(sums);
  }
  for (; i < n; ++i) sum += p[i] * q[i];
  return sum;
}
// p[i] = e^p[i]. The tail goes through a padded vector, so that every element gets the same bits wherever it stands.
template <typename A>
inline void exp_in_place(A* p, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes<A> <= n; i += kLanes<A>) store(p + i, exp_lanes(load(p + i)));
  if (i < n) {
    A tail[kLanes<A>] = {};
    for (int64_t k = i; k < n; ++k) tail[k - i] = p[k];
    store(tail, exp_lanes(load(tail)));
    for (int64_t k = i; k < n; ++k) p[k] = tail[k - i];
  }
}

// Storage elements to accumulators and back.
template <typename T, typename A>
inline void widen(const T* from, A* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<A>(from[i]);
}
template <typename A, typename T>
inline void narrow(const A* from, T* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(from[i]);
}

}  // namespace segrt::kernels::cpu
