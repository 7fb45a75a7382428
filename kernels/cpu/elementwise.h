// Elementwise operators on a CPU: the functions of kernels/elementwise.h, arguments checked there, no tensor empty
// (but for those of a list).
#pragma once

#include <vector>

#include "core/random.h"
#include "core/tensor.h"
#include "kernels/broadcast.h"
#include "kernels/elementwise.h"

namespace segrt::kernels::cpu {

void unary_forward(Unary op, const Tensor& x, Tensor& y, UnaryParams params);
// value: what the derivative is a function of (elementwise_formulas.h: unary_backward_uses_y).
void unary_backward(Unary op, const Tensor& value, const Tensor& dy, Tensor& dx, UnaryParams params);
// runs: of b in a.
void binary_forward(Binary op, const Tensor& a, const Tensor& b, const Runs& runs, Tensor& y);
void add_scaled(const Tensor& a, double alpha, const Tensor& b, double beta, Tensor& y);
void scale(const Tensor& x, double alpha, double beta, Tensor& y);
void fill(Tensor& y, double value);
void cast(const Tensor& x, Tensor& y);
void cast_many(const std::vector<CastPair>& pairs);
void dropout(const Tensor& x, double p, uint64_t seed, uint64_t layer, const Tensor& step, Tensor& y,
             const SampleShare& share);
void copy_into_channels(const Tensor& x, Tensor& y, int64_t offset);
void copy_from_channels(const Tensor& x, int64_t offset, Tensor& y);
void normalize_u8(const Tensor& x, const Normalization& n, Tensor& y);

}  // namespace segrt::kernels::cpu
