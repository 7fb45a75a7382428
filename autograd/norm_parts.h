// What batch norms are made of, alone (norm.cpp) and several in one message (norm_group.cpp): statistics, what travels
// between processes, and gradients. The files of this folder alone use it.
#pragma once

#include "autograd/norm.h"
#include "autograd/sample_sums.h"
#include "core/error.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"

namespace segrt::autograd {

int64_t norm_positions(const Shape& shape);  // numel / C
// Throws ArgumentError where there is none to train on.
void require_positions(const Shape& x);

// The statistics that x is normalised by.
struct NormStatistics {
  Tensor mean, var;
  Tensor count;  // [1], of the positions of all processes; undefined where only this one's count
};

// What a batch norm's messages are in. On CPUs f64, so that the sums over all processes, rounded once, are the bits
// that one process with all positions has.
inline DType message_dtype(const Tensor& weight) { return weight.device().is_cpu() ? DType::f64 : weight.dtype(); }

// What a norm tells the other processes, and what they tell it: [2C+1] and [R,2C+1], of mean, var, count.
struct NormMessage {
  Tensor own, all;
};
// `compute` gives mean and var of this process.
template <typename Compute>
NormMessage norm_message(int64_t count, const Tensor& weight, const BatchNormState& state, const Compute& compute) {
  const int64_t channels = weight.numel();
  NormMessage m{Tensor::empty({2 * channels + 1}, message_dtype(weight), weight.device()), {}};
  Tensor mean = m.own.slice(0, channels), var = m.own.slice(channels, channels), n = m.own.slice(2 * channels, 1);
  compute(mean, var);
  kernels::fill(n, static_cast<double>(count));
  m.all = Tensor::empty({state.processes->size(), m.own.numel()}, m.own.dtype(), m.own.device());
  return m;
}
// From the messages of all, which each combines in the same order; the running statistics follow.
NormStatistics combined_statistics(const NormMessage& message, const Tensor& weight, const BatchNormState& state);

// Gradients of y = act(bn(x) + residual).
struct NormBackward {
  Tensor x;
  Tensor mask;  // y where there is a ReLU: its mask is recomputed from y, which the next layer keeps anyway
  NormStatistics statistics;
  Tensor weight, bias;
  double eps;
  bool training, dx_wanted, affine_wanted, residual_wanted;
  Communicator* processes;  // whose sums dx needs; nullptr: this one's
  bool mean_weight_gradient;
  bool by_sample;  // dweight and dbias in f64 (sample_sums.h)

  struct Sums {
    Tensor dweight, dbias;
    Tensor sum_dy, sum_dy_xhat;  // the same in the weight's type
    Tensor message;  // [2C], of this process until the processes have added theirs; undefined where nothing travels
  };
  struct Result {
    Tensor dx, dweight, dbias, dresidual;
  };
  Sums reduce(const Tensor& dy) const;
  Result apply(const Tensor& dy, const Sums& sums) const;
  Result operator()(const Tensor& dy) const {
    const Sums sums = reduce(dy);
    if (sums.message.defined()) processes->all_reduce(sums.message);
    return apply(dy, sums);
  }
};

// Normalises x; what its backward pass keeps goes into `backward`.
Tensor apply_norm(const Tensor& x, const NormStatistics& s, const Var& weight, const Var& bias,
                  const BatchNormState& state, const Var& residual, bool relu, bool dx_wanted, NormBackward& backward);

}  // namespace segrt::autograd
