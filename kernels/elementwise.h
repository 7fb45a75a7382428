// Elementwise operators with simple broadcasting. f32, bf16, f16 (CPU: also f64); arithmetic in f32 or better, one
// rounding at the store.
#pragma once

#include <vector>

#include "core/random.h"
#include "core/tensor.h"

namespace segrt::kernels {

enum class Unary : uint8_t {
  relu,
  sigmoid,
  tanh,
  gelu,
  gelu_tanh,
  silu,
  exp,
  log,
  sqrt,
  square,
  abs,
  neg,
  erf,
  leaky_relu,
  hard_sigmoid,
  selu,
  clip
};
// Parameters of the few that have any: leaky_relu alpha = slope; hard_sigmoid max(0, min(1, alpha*x + beta)); selu
// alpha, beta = gamma; clip to [alpha, beta], beta where alpha > beta.
struct UnaryParams {
  double alpha = 0, beta = 0;
};

// y = f(x); y may be x.
void unary_forward(Unary op, const Tensor& x, Tensor& y, UnaryParams params = {});
// dx = f'(x) * dy. Needs x, except relu, sigmoid, tanh and exp, which take y and ignore x. dx may be dy.
void unary_backward(Unary op, const Tensor& x, const Tensor& y, const Tensor& dy, Tensor& dx, UnaryParams params = {});

enum class Binary : uint8_t { add, sub, mul, div, max, min };
// y = f(a, b) with y like a. b broadcasts: same rank (or shorter, aligned at the right), each extent equal to a's or 1.
// a, b, y one dtype.
void binary_forward(Binary op, const Tensor& a, const Tensor& b, Tensor& y);

// y = alpha * a + beta * b, all alike; y may be either.
void add_scaled(const Tensor& a, double alpha, const Tensor& b, double beta, Tensor& y);
// y = alpha * x + beta.
void scale(const Tensor& x, double alpha, double beta, Tensor& y);
void fill(Tensor& y, double value);  // any dtype

// Converts between f32, bf16, f16, f64 (CPU) and from u8, i32, i64; rounds to nearest even.
void cast(const Tensor& x, Tensor& y);
struct CastPair {
  Tensor from, to;
};
// The same for many tensors in one launch: f32 masters to 16-bit copies, once a step. All of one source and one target
// dtype.
void cast_many(const std::vector<CastPair>& pairs);

// y = x * mask / (1 - p), mask[i] = uniform(seed, stream_of(layer, *step), i) >= p. step: i64 [1] on the device, so
// that a captured step draws anew each replay. The backward pass is the same call on dy: the mask is recomputed, never
// stored. With a share, x [N,...] is part of a larger batch, and i counts in that.
void dropout(const Tensor& x, double p, uint64_t seed, uint64_t layer, const Tensor& step, Tensor& y,
             const SampleShare& share = {});

// y[..., offset : offset + C] = x for concatenation by slices; copies between a contiguous tensor and a channel slice
// of a wider one.
void copy_into_channels(const Tensor& x, Tensor& y, int64_t offset);
void copy_from_channels(const Tensor& x, int64_t offset, Tensor& y);

// y[n,h,w,c] = (x[n,h,w,s] / unit - mean[c]) / std[c] for c < 3 in float32 (true divisions), with s = c, or 2 - c for
// bgr; zeros in further channels. x u8 [N,H,W,3] RGB, y [N,H,W,C>=3] float.
struct Normalization {
  float mean[3];  // in y's order of channels
  float std[3];
  float unit = 255;  // 1: mean and std are on the scale of the bytes, which are not divided
  bool bgr = false;
};
void normalize_u8(const Tensor& x, const Normalization& n, Tensor& y);

}  // namespace segrt::kernels
