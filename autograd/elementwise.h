// Differentiable elementwise operators, reductions and re-arrangements; formulas in kernels/elementwise.h and
// kernels/reduce.h.
#pragma once

#include "autograd/tape.h"
#include "core/communicator.h"
#include "core/random.h"
#include "kernels/elementwise.h"

namespace segrt::autograd {

Var unary(kernels::Unary op, const Var& x, kernels::UnaryParams params = {});
inline Var relu(const Var& x) { return unary(kernels::Unary::relu, x); }
inline Var sigmoid(const Var& x) { return unary(kernels::Unary::sigmoid, x); }
inline Var tanh(const Var& x) { return unary(kernels::Unary::tanh, x); }
inline Var gelu(const Var& x) { return unary(kernels::Unary::gelu, x); }
inline Var silu(const Var& x) { return unary(kernels::Unary::silu, x); }

// b may broadcast to a's shape (kernels/elementwise.h).
Var add(const Var& a, const Var& b);
Var sub(const Var& a, const Var& b);
Var mul(const Var& a, const Var& b);
Var div(const Var& a, const Var& b);

Var scale(const Var& x, double alpha, double beta = 0);  // alpha * x + beta
Var cast(const Var& x, DType dtype);                     // the gradient is cast back
// Weights in the type that a layer computes in: a parameter's rounded copy where that is 16 bits, else a cast.
Var compute_copy(const Var& weight, DType dtype);
Var reshape(const Var& x, const Shape& shape);
Var concat_channels(const std::vector<Var>& parts);              // along the last dimension
Var slice_channels(const Var& x, int64_t first, int64_t count);  // of the last dimension
Var sum(const Var& x);                                           // all elements -> [1]
Var mean(const Var& x);                                          // all elements -> [1]
// The elements of all processes -> [1], the same in each. Its gradient is of the sum of what the processes make of it.
Var mean(const Var& x, Communicator& over);

// Zeroes with probability p and scales by 1/(1-p); the mask follows from (seed, layer, *step). p == 0 is the identity.
Var dropout(const Var& x, double p, uint64_t seed, uint64_t layer, const Tensor& step, const SampleShare& share = {});

// Stochastic depth (Huang et al. 2016): zeroes whole samples of x [N,...] with probability p and scales the others by
// 1/(1-p); the mask follows as above. p == 0 is the identity.
Var drop_path(const Var& x, double p, uint64_t seed, uint64_t layer, const Tensor& step, const SampleShare& share = {});

}  // namespace segrt::autograd
