// The scalar formulas of elementwise.h, written once for CPU and CUDA. M supplies exp, expm1, tanh, erf, erfc and log
// for A: vectorisable ones on the CPU, the CUDA library's on the GPU. A is float or double.
#pragma once

#include <cmath>

#include "core/dtype.h"
#include "kernels/elementwise.h"

namespace segrt::kernels {

// y = f(x); alpha, beta as in UnaryParams. Comparisons are ordered so that a NaN stays a NaN.
template <Unary kOp, typename M, typename A>
SEGRT_HOST_DEVICE inline A unary_value(A x, A alpha, A beta) {
  static_cast<void>(alpha);
  static_cast<void>(beta);
  constexpr A kOne = 1, kHalf = A(0.5);
  if constexpr (kOp == Unary::relu) return x < A{0} ? A{0} : x;
  if constexpr (kOp == Unary::sigmoid) return kOne / (kOne + M::exp(-x));
  if constexpr (kOp == Unary::tanh) return M::tanh(x);
  // x Phi(x), Phi(x) = erfc(-x / sqrt 2) / 2: 1 + erf(x / sqrt 2) would cancel for negative x.
  if constexpr (kOp == Unary::gelu) return kHalf * x * M::erfc(x * A(-0.70710678118654752));
  if constexpr (kOp == Unary::gelu_tanh) {
    // (1 + tanh u) / 2 = 1 / (1 + e^-2u), which does not cancel for negative u; 2 sqrt(2/pi) = 1.5957...
    return x / (kOne + M::exp(A(-1.5957691216057308) * (x + A(0.044715) * x * x * x)));
  }
  if constexpr (kOp == Unary::silu) return x / (kOne + M::exp(-x));
  if constexpr (kOp == Unary::exp) return M::exp(x);
  if constexpr (kOp == Unary::log) return M::log(x);
  if constexpr (kOp == Unary::sqrt) return std::sqrt(x);
  if constexpr (kOp == Unary::square) return x * x;
  if constexpr (kOp == Unary::abs) return std::abs(x);
  if constexpr (kOp == Unary::neg) return -x;
  if constexpr (kOp == Unary::erf) return M::erf(x);
  if constexpr (kOp == Unary::leaky_relu) return x > A{0} ? x : alpha * x;
  if constexpr (kOp == Unary::hard_sigmoid) {
    const A v = alpha * x + beta;
    return v < A{0} ? A{0} : (v > kOne ? kOne : v);
  }
  if constexpr (kOp == Unary::selu) {
    const A below = x > A{0} ? A{0} : x;  // expm1 of a large x, which is then not chosen, would overflow
    return beta * (x > A{0} ? x : alpha * M::expm1(below));
  }
  if constexpr (kOp == Unary::clip) {
    const A raised = x < alpha ? alpha : x;
    return raised > beta ? beta : raised;
  }
}

// Whether the derivative is a function of y (and x is ignored) or of x (and y is ignored).
constexpr bool unary_backward_uses_y(Unary op) {
  return op == Unary::relu || op == Unary::sigmoid || op == Unary::tanh || op == Unary::exp;
}

// f'(x) of all but relu, where v is y if unary_backward_uses_y(kOp), else x.
template <Unary kOp, typename M, typename A>
SEGRT_HOST_DEVICE inline A unary_slope(A v, A alpha, A beta) {
  static_cast<void>(alpha);
  static_cast<void>(beta);
  constexpr A kOne = 1, kHalf = A(0.5), kRootTwoOverPi = A(0.79788456080286536);
  if constexpr (kOp == Unary::sigmoid) return v * (kOne - v);
  if constexpr (kOp == Unary::tanh) return kOne - v * v;
  if constexpr (kOp == Unary::gelu)  // Phi(x) + x phi(x)
    return kHalf * (M::erfc(v * A(-0.70710678118654752)) + v * kRootTwoOverPi * M::exp(-kHalf * v * v));
  if constexpr (kOp == Unary::gelu_tanh) {
    const A s = kOne / (kOne + M::exp(-2 * kRootTwoOverPi * (v + A(0.044715) * v * v * v)));
    return s + v * s * (kOne - s) * 2 * kRootTwoOverPi * (kOne + A(3 * 0.044715) * v * v);
  }
  if constexpr (kOp == Unary::silu) {
    const A s = kOne / (kOne + M::exp(-v));
    return s * (kOne + v * (kOne - s));
  }
  if constexpr (kOp == Unary::exp) return v;
  if constexpr (kOp == Unary::log) return kOne / v;
  if constexpr (kOp == Unary::sqrt) return kHalf / std::sqrt(v);
  if constexpr (kOp == Unary::square) return 2 * v;
  if constexpr (kOp == Unary::abs) return v > A{0} ? kOne : (v < A{0} ? -kOne : v);
  if constexpr (kOp == Unary::neg) return -kOne;
  if constexpr (kOp == Unary::erf) return A(1.1283791670955126) * M::exp(-v * v);  // 2 / sqrt(pi)
  if constexpr (kOp == Unary::leaky_relu) return v > A{0} ? kOne : alpha;
  if constexpr (kOp == Unary::hard_sigmoid) {
    const A y = alpha * v + beta;
    return y > A{0} && y < kOne ? alpha : A{0};
  }
  if constexpr (kOp == Unary::selu) return beta * (v > A{0} ? kOne : alpha * M::exp(v > A{0} ? A{0} : v));
  if constexpr (kOp == Unary::clip) return v >= alpha && v <= beta ? kOne : A{0};
}

// f'(x) dy. Where a ReLU is closed nothing comes back, not even an infinite dy times 0.
template <Unary kOp, typename M, typename A>
SEGRT_HOST_DEVICE inline A unary_gradient(A v, A dy, A alpha, A beta) {
  if constexpr (kOp == Unary::relu)
    return v > A{0} ? dy : A{0};
  else
    return unary_slope<kOp, M>(v, alpha, beta) * dy;
}

// Calls f.template operator()<kOp>() with kOp = op.
template <typename F>
SEGRT_HOST_DEVICE void dispatch_unary(Unary op, const F& f) {
  switch (op) {
    case Unary::relu: return f.template operator()<Unary::relu>();
    case Unary::sigmoid: return f.template operator()<Unary::sigmoid>();
    case Unary::tanh: return f.template operator()<Unary::tanh>();
    case Unary::gelu: return f.template operator()<Unary::gelu>();
    case Unary::gelu_tanh: return f.template operator()<Unary::gelu_tanh>();
    case Unary::silu: return f.template operator()<Unary::silu>();
    case Unary::exp: return f.template operator()<Unary::exp>();
    case Unary::log: return f.template operator()<Unary::log>();
    case Unary::sqrt: return f.template operator()<Unary::sqrt>();
    case Unary::square: return f.template operator()<Unary::square>();
    case Unary::abs: return f.template operator()<Unary::abs>();
    case Unary::neg: return f.template operator()<Unary::neg>();
    case Unary::erf: return f.template operator()<Unary::erf>();
    case Unary::leaky_relu: return f.template operator()<Unary::leaky_relu>();
    case Unary::hard_sigmoid: return f.template operator()<Unary::hard_sigmoid>();
    case Unary::selu: return f.template operator()<Unary::selu>();
    case Unary::clip: return f.template operator()<Unary::clip>();
  }
}

// f(a, b). max and min of a NaN are a NaN.
template <Binary kOp, typename A>
SEGRT_HOST_DEVICE inline A binary_value(A a, A b) {
  if constexpr (kOp == Binary::add) return a + b;
  if constexpr (kOp == Binary::sub) return a - b;
  if constexpr (kOp == Binary::mul) return a * b;
  if constexpr (kOp == Binary::div) return a / b;
  if constexpr (kOp == Binary::max) return a > b || a != a ? a : b;
  if constexpr (kOp == Binary::min) return a < b || a != a ? a : b;
}
template <typename F>
SEGRT_HOST_DEVICE void dispatch_binary(Binary op, const F& f) {
  switch (op) {
    case Binary::add: return f.template operator()<Binary::add>();
    case Binary::sub: return f.template operator()<Binary::sub>();
    case Binary::mul: return f.template operator()<Binary::mul>();
    case Binary::div: return f.template operator()<Binary::div>();
    case Binary::max: return f.template operator()<Binary::max>();
    case Binary::min: return f.template operator()<Binary::min>();
  }
}

}  // namespace segrt::kernels
