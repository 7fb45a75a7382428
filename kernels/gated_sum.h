// The aggregation of a dynamic routing network (Li et al. 2020, section 3.3): a cell's input is the sum of the gated
// outputs of its neighbours. All paths are added in one pass, gates included; an upsampled path is interpolated on the
// fly and a closed one is not read.
#pragma once

#include <span>

#include "core/tensor.h"

namespace segrt::kernels {

struct GatedTerm {
  const Tensor* x = nullptr;     // [N,P,Q,C], or [N,P/2,Q/2,C] with upsample2
  const Tensor* gate = nullptr;  // [N,S] f32 (f64 with f64 x): f(n) = gate[n,slot]; nullptr: f(n) = 1
  int slot = 0;
  bool upsample2 = false;
};
inline constexpr int kMaxGatedTerms = 4;

// y[n,p,q,c] = sum_t f_t(n) R_t(x_t)[n,p,q,c], in the order of the 1 to 4 terms. R is the identity or bilinear
// interpolation by 2 (half-pixel centres, edges clamped): with i = p / 2, row p takes 3/4 of row i of x and 1/4 of row
// i - 1 (p even) or i + 1 (p odd), and columns the same. Where f_t(n) = 0, sample n of x_t is not read and adds exactly
// 0. y, x: [N,P,Q,C] f32, bf16 or f16 (CPU: also f64), all of one dtype, summed in f32 or better; P and Q are even
// where a term is upsampled; y shares no memory with any x.
void gated_sum_forward(std::span<const GatedTerm> terms, Tensor& y);

struct GatedTermGrads {
  Tensor* dx = nullptr;     // written; like x
  Tensor* dgate = nullptr;  // added to at [n,slot]; like gate. Terms may share one
};

// dx_t = f_t R_t^T dy (exactly 0 where f_t(n) = 0) and dgate_t[n,slot] += sum over p,q,c of dy R_t(x_t), each where
// wanted, one entry of grads a term. A closed path's gate gets nothing: its x may never have been computed, and the
// gate's ReLU would stop the gradient. x is read, and may be nullptr otherwise, only where dgate is wanted. Gathered
// and two-level: same bits for any thread count or block order. dx shares no memory with dy.
void gated_sum_backward(const Tensor& dy, std::span<const GatedTerm> terms, std::span<const GatedTermGrads> grads);

}  // namespace segrt::kernels
