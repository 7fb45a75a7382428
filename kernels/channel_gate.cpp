#include "kernels/channel_gate.h"

#include "kernels/check.h"
#include "kernels/cpu/channel_gate.h"
#include "kernels/cuda/channel_gate.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {
namespace {
void require_gate(std::string_view op, const Tensor& x, const Tensor& g, std::string_view g_name) {
  require_rank(op, "x", x, 4);
  require_float(op, "x", x);
  require_shape(op, g_name, g, Shape{x.dim(0), 1, 1, x.dim(3)});
  require_dtype(op, g_name, g, {x.dtype()});
  require_device(op, g_name, g, x);
}
}  // namespace

void channel_gate_forward(const Tensor& x, const Tensor& g, bool residual, Tensor& y) {
  constexpr std::string_view kOp = "channel_gate";
  require_gate(kOp, x, g, "g");
  require_same(kOp, "x", x, "y", y);
  if (x.numel() == 0) return;
  on_device(
      x, [&] { cuda::channel_gate_forward(x, g, residual, y); }, [&] { cpu::channel_gate_forward(x, g, residual, y); });
}

void channel_gate_backward(const Tensor& dy, const Tensor& x, const Tensor& g, bool residual, Tensor* dx, Tensor* dg) {
  constexpr std::string_view kOp = "channel_gate_backward";
  require_gate(kOp, x, g, "g");
  require_same(kOp, "x", x, "dy", dy);
  if (dx != nullptr) require_same(kOp, "x", x, "dx", *dx);
  if (dg != nullptr) require_gate(kOp, x, *dg, "dg");
  if (g.numel() == 0 || (dx == nullptr && dg == nullptr)) return;
  require(x.numel() > 0, kOp, "x: a map without pixels");
  on_device(
      x, [&] { cuda::channel_gate_backward(dy, x, g, residual, dx, dg); },
      [&] { cpu::channel_gate_backward(dy, x, g, residual, dx, dg); });
}

}  // namespace segrt::kernels
