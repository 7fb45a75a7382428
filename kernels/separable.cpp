#include "kernels/separable.h"

#include <utility>

#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cuda/separable.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {
namespace {
void in_two_passes(const Tensor& x, const Tensor& depthwise, const ConvGeometry& g, const Tensor& pointwise,
                   const ConvEpilogue& epilogue, Tensor& y) {
  Tensor middle = Tensor::empty(conv2d_output_shape(x.shape(), depthwise.shape(), g), x.dtype(), x.device());
  conv2d_forward(x, depthwise, {}, g, middle);
  conv2d_forward(middle, pointwise, epilogue, {}, y);
}
}  // namespace

bool separable_conv2d_fuses(const Tensor& x, int64_t outputs) {
  bool fuses = false;
  on_device(
      x, [&]() { fuses = cuda::separable_fuses(x, outputs); }, [] {});
  return fuses;
}

void separable_conv2d_forward(const Tensor& x, const Tensor& depthwise, const ConvGeometry& g, const Tensor& pointwise,
                              const ConvEpilogue& epilogue, Tensor& y) {
  constexpr std::string_view op = "separable_conv2d";
  require_rank(op, "x", x, 4);
  require_float(op, "x", x);
  const int64_t channels = x.dim(3);
  require_shape(op, "depthwise", depthwise, {channels, 3, 3, 1});
  require_rank(op, "pointwise", pointwise, 4);
  require_shape(op, "pointwise", pointwise, {pointwise.dim(0), 1, 1, channels});
  for (const auto& [name, t] : {std::pair{"depthwise", &depthwise}, {"pointwise", &pointwise}, {"y", &y}}) {
    require_dtype(op, name, *t, {x.dtype()});
    require_device(op, name, *t, x);
  }
  const Shape middle = conv2d_output_shape(x.shape(), depthwise.shape(), g);
  require(g.dilation_h == 1 && g.dilation_w == 1, op, "dilation: expected 1");
  require_shape(op, "y", y, {middle[0], middle[1], middle[2], pointwise.dim(0)});
  require(y.numel() == 0 || y.device().is_meta() || y.raw() != x.raw(), op, "y: expected other memory than x");
  require(!epilogue.relu || !epilogue.silu, op, "epilogue: expected one activation, got ReLU and SiLU");
  if (epilogue.bias != nullptr) require_channel_vector(op, "bias", *epilogue.bias, y);
  if (epilogue.residual != nullptr) require_same(op, "residual", *epilogue.residual, "y", y);
  if (y.numel() == 0) return;
  if (x.numel() == 0 || !separable_conv2d_fuses(x, pointwise.dim(0)))
    return in_two_passes(x, depthwise, g, pointwise, epilogue, y);
  const OpScope scope(op, y, [&] {
    return OpWork{
        bytes_of(x, depthwise, pointwise, epilogue.bias, epilogue.residual, y),
        2 * (conv2d_multiply_adds(middle, depthwise.shape()) + conv2d_multiply_adds(y.shape(), pointwise.shape()))};
  });
  on_device(
      x, [&]() { cuda::separable_conv2d_forward(x, depthwise, g, pointwise, epilogue, y); }, [] {});
}

}  // namespace segrt::kernels
