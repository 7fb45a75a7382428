#include "autograd/channel_gate.h"

#include "core/op_event.h"
#include "core/op_scope.h"
#include "kernels/channel_gate.h"
#include "kernels/elementwise.h"

namespace segrt::autograd {

Var channel_gate(const Var& x, const Var& g, bool residual) {
  const FunctionScope scope("channel_gate", x.device());
  Tensor y = Tensor::like(x.value());
  kernels::channel_gate_forward(x.value(), g.value(), residual, y);
  if (const auto& see = y.device().op_observer)
    see({"channel_gate", {x.value(), g.value()}, y, {{"residual", {residual ? 1.0 : 0.0}}}});
  const bool dx_wanted = x.needs_grad(), dg_wanted = g.needs_grad();
  return record("channel_gate", {x, g}, y,
                [xv = x.value(), gv = g.value(), residual, dx_wanted, dg_wanted](const Tensor& dy) -> Grads {
                  Tensor dx, dg;
                  if (dx_wanted) dx = reuse_or_like(dy);
                  if (dg_wanted) dg = Tensor::like(gv);
                  kernels::channel_gate_backward(dy, xv, gv, residual, dx_wanted ? &dx : nullptr,
                                                 dg_wanted ? &dg : nullptr);
                  return {dx, dg};
                });
}

Var channel_dropout(const Var& x, double p, uint64_t seed, uint64_t layer, const Tensor& step,
                    const SampleShare& share) {
  const FunctionScope scope("channel_dropout", x.device());
  if (p == 0) return x;
  Tensor mask = Tensor::empty({x.dim(0), 1, 1, x.dim(3)}, x.dtype(), x.device());
  kernels::fill(mask, 1);
  kernels::dropout(mask, p, seed, layer, step, mask, share);
  return channel_gate(x, mask);
}

}  // namespace segrt::autograd
