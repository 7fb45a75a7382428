#include "kernels/conv.h"

#include <fmt/format.h>

#include <optional>

#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cpu/conv.h"
#include "kernels/dispatch.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"
#include "kernels/vendor/conv_without_cudnn.h"
#include "kernels/vendor/cudnn_conv.h"

namespace segrt::kernels {
namespace {
[[noreturn]] void fail(std::string_view op, const std::string& message) {
  throw ArgumentError(fmt::format("{}: {}", op, message));
}

void require_at_least(std::string_view op, std::string_view name, int least, int value) {
  if (value < least) fail(op, fmt::format("{}: expected at least {}, got {}", name, least, value));
}

void require_geometry(std::string_view op, const ConvGeometry& g) {
  require_at_least(op, "stride_h", 1, g.stride_h);
  require_at_least(op, "stride_w", 1, g.stride_w);
  require_at_least(op, "dilation_h", 1, g.dilation_h);
  require_at_least(op, "dilation_w", 1, g.dilation_w);
  require_at_least(op, "pad_top", 0, g.pad_top);
  require_at_least(op, "pad_left", 0, g.pad_left);
  require_at_least(op, "pad_bottom", 0, g.pad_bottom);
  require_at_least(op, "pad_right", 0, g.pad_right);
  require_at_least(op, "groups", 1, g.groups);
}

// [N,H,W,C] and [O,kh,kw,C/groups]: both of rank 4, with channels that groups divides and that belong together.
void require_channels(std::string_view op, const Shape& x, const Shape& w, const ConvGeometry& g) {
  if (x.rank() != 4) fail(op, fmt::format("x: expected 4 dimensions [N,H,W,C], got {}", to_string(x)));
  if (w.rank() != 4) fail(op, fmt::format("w: expected 4 dimensions [O,kh,kw,C/groups], got {}", to_string(w)));
  if (w[1] < 1 || w[2] < 1) fail(op, fmt::format("w: expected a kernel of at least 1x1, got {}", to_string(w)));
  if (x[3] % g.groups != 0)
    fail(op, fmt::format("groups: expected a divisor of x's {} channels, got {}", x[3], g.groups));
  if (w[0] % g.groups != 0)
    fail(op, fmt::format("groups: expected a divisor of w's {} output channels, got {}", w[0], g.groups));
  if (w[3] != x[3] / g.groups)
    fail(op, fmt::format("w: expected {} input channels a group, got {}: w is {}, x is {}, groups {}", x[3] / g.groups,
                         w[3], to_string(w), to_string(x), g.groups));
}

struct Extent {
  int64_t size, kernel;
  int pad_before, pad_after, stride, dilation;
  int64_t span() const { return (kernel - 1) * dilation + 1; }  // input positions that a dilated kernel covers
};

int64_t output_size(std::string_view op, std::string_view name, const Extent& e) {
  const int64_t padded = e.size + e.pad_before + e.pad_after;
  if (padded < e.span())
    fail(op, fmt::format("x: expected a padded {} of at least {} (kernel {}, dilation {}), got {} + {} + {}", name,
                         e.span(), e.kernel, e.dilation, e.size, e.pad_before, e.pad_after));
  return (padded - e.span()) / e.stride + 1;
}

Shape output_shape(std::string_view op, const Shape& x, const Shape& w, const ConvGeometry& g) {
  require_geometry(op, g);
  require_channels(op, x, w, g);
  return {x[0], output_size(op, "height", {x[1], w[1], g.pad_top, g.pad_bottom, g.stride_h, g.dilation_h}),
          output_size(op, "width", {x[2], w[2], g.pad_left, g.pad_right, g.stride_w, g.dilation_w}), w[0]};
}

void require_like(std::string_view op, std::string_view name, const Tensor& t, const Tensor& x) {
  require_dtype(op, name, t, {x.dtype()});
  require_device(op, name, t, x);
}

// Returns the shape of conv(x, w).
Shape require_operands(std::string_view op, const Tensor& x, const Tensor& w, const ConvGeometry& g) {
  require_float(op, "x", x);
  require_defined(op, "w", w);
  require_like(op, "w", w, x);
  return output_shape(op, x.shape(), w.shape(), g);
}

void require_forward(std::string_view op, const Tensor& x, const Tensor& w, const ConvGeometry& g, const Tensor& y) {
  require_shape(op, "y", y, require_operands(op, x, w, g));
  require_like(op, "y", y, x);
}

void require_epilogue(std::string_view op, const ConvEpilogue& e, const Tensor& w, const Tensor& y) {
  require(!e.relu || !e.silu, op, "epilogue: expected one activation, got ReLU and SiLU");
  if (e.bias != nullptr) {
    require_shape(op, "bias", *e.bias, Shape{w.dim(0)});
    require_dtype(op, "bias", *e.bias, {y.dtype() == DType::f64 ? DType::f64 : DType::f32});
    require_device(op, "bias", *e.bias, y);
  }
  if (e.residual != nullptr) {
    require_shape(op, "residual", *e.residual, y.shape());
    require_like(op, "residual", *e.residual, y);
  }
}

// On a GPU, cuDNN and cuBLASLt compute what they are faster at; our own kernels take the rest.
void dispatch_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                      Tensor& y) {
  on_device(
      x,
      [&]() {
        if (!vendor::cudnn_conv2d_forward(x, w, epilogue, g, y))
          vendor::conv2d_forward_without_cudnn(x, w, epilogue, g, y);
      },
      [&] { cpu::conv2d_forward(x, w, epilogue, g, y); });
}

// On a GPU a vendor's kernel that was found faster keeps its problem, although it was measured without this copy.
void dispatch_forward_slice(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                            const Shape& shape, Tensor& y, int64_t channel) {
  on_device(
      x,
      [&]() {
        Tensor part = Tensor::empty(shape, x.dtype(), x.device());
        if (!vendor::cudnn_conv2d_forward(x, w, epilogue, g, part) &&
            !vendor::cublaslt_conv2d_forward(x, w, epilogue, g, part)) {
          if (cuda::conv2d_forward_slice(x, w, epilogue, g, y, channel)) return;
          cuda::conv2d_forward(x, w, epilogue, g, part);
        }
        copy_into_channels(part, y, channel);
      },
      [&] {
        if (cpu::conv2d_forward_slice(x, w, epilogue, g, y, channel)) return;
        Tensor part = Tensor::empty(shape, x.dtype(), x.device());
        cpu::conv2d_forward(x, w, epilogue, g, part);
        copy_into_channels(part, y, channel);
      });
}

// Every sum is empty, so y is what the epilogue adds: a 1x1 convolution of zeros by zeros says just that.
void forward_of_nothing(const Tensor& x, const ConvEpilogue& epilogue, Tensor& y) {
  const Tensor zero_x = Tensor::zeros({y.dim(0), y.dim(1), y.dim(2), 1}, x.dtype(), x.device());
  const Tensor zero_w = Tensor::zeros({y.dim(3), 1, 1, 1}, x.dtype(), x.device());
  dispatch_forward(zero_x, zero_w, epilogue, {}, y);
}
}  // namespace

Shape conv2d_output_shape(const Shape& x, const Shape& w, const ConvGeometry& g) {
  return output_shape("conv2d", x, w, g);
}

void conv2d_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g, Tensor& y) {
  constexpr std::string_view op = "conv2d";
  require_forward(op, x, w, g, y);
  require_epilogue(op, epilogue, w, y);
  if (y.numel() == 0) return;
  if (x.numel() == 0 || w.numel() == 0) return forward_of_nothing(x, epilogue, y);
  const OpScope scope(op, y, [&] {
    return OpWork{bytes_of(x, w, epilogue.bias, epilogue.residual, y), 2 * conv2d_multiply_adds(y.shape(), w.shape())};
  });
  dispatch_forward(x, w, epilogue, g, y);
}

void conv2d_forward_slice(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                          Tensor& y, int64_t channel) {
  constexpr std::string_view op = "conv2d_slice";
  const Shape shape = require_operands(op, x, w, g);
  require_channel_slice(op, "y", y, shape, "channel", channel);
  require_like(op, "y", y, x);
  require(epilogue.residual == nullptr, op, "residual: expected none, got one");
  require_epilogue(op, epilogue, w, y);
  if (shape.numel() == 0) return;
  const OpScope scope(op, y, [&] {
    const int64_t written = shape.numel() * static_cast<int64_t>(size_of(y.dtype()));
    return OpWork{bytes_of(x, w, epilogue.bias) + written, 2 * conv2d_multiply_adds(shape, w.shape())};
  });
  if (x.numel() > 0 && w.numel() > 0) return dispatch_forward_slice(x, w, epilogue, g, shape, y, channel);
  Tensor part = Tensor::empty(shape, x.dtype(), x.device());
  forward_of_nothing(x, epilogue, part);
  copy_into_channels(part, y, channel);
}

void conv2d_forward_statistics(const Tensor& x, const Tensor& w, const ConvGeometry& g, Tensor& y, Tensor& mean,
                               Tensor& var) {
  constexpr std::string_view op = "conv2d_forward_statistics";
  require_forward(op, x, w, g, y);
  require_channel_statistics(op, "mean", mean, "var", var, y);
  const bool empty = x.numel() == 0 || w.numel() == 0 || y.numel() == 0;
  std::optional<OpScope> both;  // on a GPU one kernel may do it
  if (!empty && x.device().is_cuda()) {
    both.emplace(op, y, [&] { return OpWork{bytes_of(x, w, y), 2 * conv2d_multiply_adds(y.shape(), w.shape())}; });
    if (vendor::cudnn_conv2d_forward_statistics(x, w, g, y, mean, var)) return;
  }
  conv2d_forward(x, w, {}, g, y);
  batch_norm_statistics(y, mean, var);
}

void conv2d_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx) {
  constexpr std::string_view op = "conv2d_backward_input";
  require_float(op, "dy", dy);
  require_defined(op, "w", w);
  require_like(op, "w", w, dy);
  require_rank(op, "dx", dx, 4);
  require_like(op, "dx", dx, dy);
  require_shape(op, "dy", dy, output_shape(op, dx.shape(), w.shape(), g));
  if (dx.numel() == 0) return;
  if (dy.numel() == 0 || w.numel() == 0) return dx.fill_zero();
  const OpScope scope(op, dx, [&] {
    return OpWork{bytes_of(dy, w, dx), 2 * conv2d_multiply_adds(dy.shape(), w.shape())};
  });
  on_device(
      dy,
      [&]() {
        if (!vendor::cudnn_conv2d_backward_input(dy, w, g, dx))
          vendor::conv2d_backward_input_without_cudnn(dy, w, g, dx);
      },
      [&] { cpu::conv2d_backward_input(dy, w, g, dx); });
}

void conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw) {
  constexpr std::string_view op = "conv2d_backward_weight";
  require_float(op, "x", x);
  require_defined(op, "dy", dy);
  require_like(op, "dy", dy, x);
  require_rank(op, "dw", dw, 4);
  if (x.dtype() == DType::f64)
    require_dtype(op, "dw", dw, {DType::f64});
  else
    require_dtype(op, "dw", dw, {x.dtype(), DType::f32});
  require_device(op, "dw", dw, x);
  require_shape(op, "dy", dy, output_shape(op, x.shape(), dw.shape(), g));
  if (dw.numel() == 0) return;
  if (x.numel() == 0 || dy.numel() == 0) return dw.fill_zero();
  const OpScope scope(op, dw, [&] {
    return OpWork{bytes_of(x, dy, dw), 2 * conv2d_multiply_adds(dy.shape(), dw.shape())};
  });
  on_device(
      x,
      [&]() {
        if (!vendor::cudnn_conv2d_backward_weight(x, dy, g, dw))
          vendor::conv2d_backward_weight_without_cudnn(x, dy, g, dw);
      },
      [&] { cpu::conv2d_backward_weight(x, dy, g, dw); });
}

int64_t conv2d_multiply_adds(const Shape& y, const Shape& w) { return y.numel() * w[1] * w[2] * w[3]; }

Shape conv_transpose2d_output_shape(const Shape& x, const Shape& w, const ConvGeometry& g, int output_padding_h,
                                    int output_padding_w) {
  constexpr std::string_view op = "conv_transpose2d";
  require_geometry(op, g);
  if (x.rank() != 4) fail(op, fmt::format("x: expected 4 dimensions [N,H,W,C], got {}", to_string(x)));
  if (w.rank() != 4) fail(op, fmt::format("w: expected 4 dimensions [C,kh,kw,O/groups], got {}", to_string(w)));
  if (w[1] < 1 || w[2] < 1) fail(op, fmt::format("w: expected a kernel of at least 1x1, got {}", to_string(w)));
  if (w[0] != x[3]) fail(op, fmt::format("w: expected {} rows, one per channel of x, got {}", x[3], to_string(w)));
  if (x[3] % g.groups != 0)
    fail(op, fmt::format("groups: expected a divisor of x's {} channels, got {}", x[3], g.groups));
  if (x[1] < 1 || x[2] < 1) fail(op, fmt::format("x: expected at least one row and column, got {}", to_string(x)));
  // The convolution back from y must give x's size again, so the extra rows are fewer than a stride.
  if (output_padding_h < 0 || output_padding_h >= g.stride_h)
    fail(op, fmt::format("output_padding_h: expected 0 to {}, got {}", g.stride_h - 1, output_padding_h));
  if (output_padding_w < 0 || output_padding_w >= g.stride_w)
    fail(op, fmt::format("output_padding_w: expected 0 to {}, got {}", g.stride_w - 1, output_padding_w));
  const int64_t height =
      (x[1] - 1) * g.stride_h - g.pad_top - g.pad_bottom + g.dilation_h * (w[1] - 1) + 1 + output_padding_h;
  const int64_t width =
      (x[2] - 1) * g.stride_w - g.pad_left - g.pad_right + g.dilation_w * (w[2] - 1) + 1 + output_padding_w;
  if (height < 1 || width < 1)
    fail(op, fmt::format("padding: expected less than the output's extent, got an output of {}x{}", height, width));
  return {x[0], height, width, w[3] * g.groups};
}

}  // namespace segrt::kernels
