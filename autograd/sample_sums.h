// How the gradient of a weight is summed over the samples of a batch. Usually as its kernel does: in the weight's type
// and an order that depends on the whole batch, so that two processes with half the samples each differ in last bits
// from one process with all. Where Device::sums_by_sample() is set, what each sample adds is computed alone, in the
// weight's type, and added in f64: f32 numbers of like size have exact sums there, so that gradients, summed over the
// processes and then rounded once (Var::round_grad), are the same bits however samples are spread.
#pragma once

#include <array>

#include "autograd/tape.h"
#include "kernels/elementwise.h"

namespace segrt::autograd {

// Whether the gradient of `weight` is an f64 sum of its samples' parts: where the device says so, of an f32 weight.
inline bool sums_by_sample(const Var& weight) {
  return weight.is_weight() && weight.dtype() == DType::f32 && weight.device().sums_by_sample();
}

// Of x [N,...]: N; [C] is one.
inline int64_t samples_of(const Shape& x) { return x.rank() > 1 ? x[0] : 1; }

// f(first, count, parts) fills `parts` with what samples first to first + count add. Of all samples at once, or sample
// by sample; `parts` are tensors like `likes`, undefined where those are. Returns the sums, f64 if by sample.
template <size_t K, typename F>
std::array<Tensor, K> sum_over_samples(const std::array<Tensor, K>& likes, int64_t samples, bool by_sample,
                                       const F& f) {
  std::array<Tensor, K> parts, sums, wide;
  for (size_t k = 0; k < K; ++k)
    if (likes[k].defined()) parts[k] = Tensor::like(likes[k]);
  if (!by_sample) {
    f(int64_t{0}, samples, parts);
    return parts;
  }
  for (size_t k = 0; k < K; ++k) {
    if (!parts[k].defined()) continue;
    sums[k] = Tensor::empty(parts[k].shape(), DType::f64, parts[k].device());
    wide[k] = Tensor::like(sums[k]);
    if (samples == 0) sums[k].fill_zero();
  }
  for (int64_t n = 0; n < samples; ++n) {
    f(n, int64_t{1}, parts);
    for (size_t k = 0; k < K; ++k) {
      if (!parts[k].defined()) continue;
      kernels::cast(parts[k], n == 0 ? sums[k] : wide[k]);
      if (n > 0) kernels::add_scaled(sums[k], 1, wide[k], 1, sums[k]);
    }
  }
  return sums;
}

}  // namespace segrt::autograd
