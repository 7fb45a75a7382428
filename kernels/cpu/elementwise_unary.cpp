#include "kernels/cpu/branch_free_math.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/map_chunks.h"
#include "kernels/dispatch.h"
#include "kernels/elementwise_formulas.h"

namespace segrt::kernels::cpu {
namespace {

template <typename Acc>
void forward_chunk(Unary op, const Acc* x, Acc* y, int64_t n, Acc alpha, Acc beta) {
  dispatch_unary(op, [&]<Unary kOp>() {
    for (int64_t i = 0; i < n; ++i) y[i] = unary_value<kOp, BranchFreeMath>(x[i], alpha, beta);
  });
}

template <typename Acc>
void backward_chunk(Unary op, const Acc* value, const Acc* dy, Acc* dx, int64_t n, Acc alpha, Acc beta) {
  dispatch_unary(op, [&]<Unary kOp>() {
    for (int64_t i = 0; i < n; ++i) dx[i] = unary_gradient<kOp, BranchFreeMath>(value[i], dy[i], alpha, beta);
  });
}
}  // namespace

void unary_forward(Unary op, const Tensor& x, Tensor& y, UnaryParams params) {
  dispatch_real(x.dtype(), [&]<typename T>() {
    using Acc = accumulator_t<T>;
    map_chunks<T, 1>(x.numel(), {x.data<T>()}, y.data<T>(), [&](const auto& in, Acc* out, int64_t n, int64_t) {
      forward_chunk(op, in[0], out, n, static_cast<Acc>(params.alpha), static_cast<Acc>(params.beta));
    });
  });
}

void unary_backward(Unary op, const Tensor& value, const Tensor& dy, Tensor& dx, UnaryParams params) {
  dispatch_real(dy.dtype(), [&]<typename T>() {
    using Acc = accumulator_t<T>;
    map_chunks<T, 2>(
        dy.numel(), {value.data<T>(), dy.data<T>()}, dx.data<T>(), [&](const auto& in, Acc* out, int64_t n, int64_t) {
          backward_chunk(op, in[0], in[1], out, n, static_cast<Acc>(params.alpha), static_cast<Acc>(params.beta));
        });
  });
}

}  // namespace segrt::kernels::cpu
