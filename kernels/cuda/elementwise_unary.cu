#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/map_elements.cuh"
#include "kernels/dispatch.h"
#include "kernels/elementwise_formulas.h"

namespace segrt::kernels::cuda {
namespace {

// The operator is a run-time value, tested once a vector: every thread takes the same branch, the loop waits for
// memory, and one kernel a dtype is compiled instead of 17.
struct UnaryForward {
  Unary op;
  float alpha, beta;

  template <int V>
  SEGRT_DEVICE void apply(const float (&in)[1][V], float (&out)[V], int64_t) const {
    dispatch_unary(op, [&]<Unary kOp>() {
#pragma unroll
      for (int k = 0; k < V; ++k) out[k] = unary_value<kOp, DeviceMath>(in[0][k], alpha, beta);
    });
  }
};

// in[0]: x or y, in[1]: dy.
struct UnaryBackward {
  Unary op;
  float alpha, beta;

  template <int V>
  SEGRT_DEVICE void apply(const float (&in)[2][V], float (&out)[V], int64_t) const {
    dispatch_unary(op, [&]<Unary kOp>() {
#pragma unroll
      for (int k = 0; k < V; ++k) out[k] = unary_gradient<kOp, DeviceMath>(in[0][k], in[1][k], alpha, beta);
    });
  }
};
}  // namespace

void unary_forward(Unary op, const Tensor& x, Tensor& y, UnaryParams params) {
  const UnaryForward f{op, static_cast<float>(params.alpha), static_cast<float>(params.beta)};
  dispatch_float(x.dtype(), [&]<typename T>() { map_elements<T, 1>(y, {x.data<T>()}, f); });
}

void unary_backward(Unary op, const Tensor& value, const Tensor& dy, Tensor& dx, UnaryParams params) {
  const UnaryBackward f{op, static_cast<float>(params.alpha), static_cast<float>(params.beta)};
  dispatch_float(dy.dtype(), [&]<typename T>() { map_elements<T, 2>(dx, {value.data<T>(), dy.data<T>()}, f); });
}

}  // namespace segrt::kernels::cuda
