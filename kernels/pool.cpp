#include "kernels/pool.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cpu/pool.h"
#include "kernels/cuda/pool.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {
namespace {

struct Side {
  std::string_view name;
  int kernel, stride, pad_begin, pad_end, dilation;
};

void require_side(const Side& s) {
  if (s.kernel < 1 || s.stride < 1 || s.dilation < 1)
    throw ArgumentError(fmt::format("pool2d: {}: expected kernel, stride and dilation of 1 or more, got {}, {} and {}",
                                    s.name, s.kernel, s.stride, s.dilation));
  const int extent = (s.kernel - 1) * s.dilation + 1;
  if (s.pad_begin < 0 || s.pad_end < 0 || s.pad_begin >= extent || s.pad_end >= extent)
    throw ArgumentError(fmt::format("pool2d: {}: expected paddings in [0, {}), the window's extent, got {} and {}",
                                    s.name, extent, s.pad_begin, s.pad_end));
}

int64_t output_size(const Side& s, int64_t in, bool ceil_mode) {
  require_side(s);
  const int64_t room = in + s.pad_begin + s.pad_end - (s.kernel - 1) * s.dilation - 1;
  if (room < 0 || in < 1)
    throw ArgumentError(fmt::format("pool2d: {}: a window of {} does not fit an input of {} with padding {} and {}",
                                    s.name, (s.kernel - 1) * s.dilation + 1, in, s.pad_begin, s.pad_end));
  int64_t out = (room + (ceil_mode ? s.stride - 1 : 0)) / s.stride + 1;
  if (ceil_mode && (out - 1) * s.stride >= in + s.pad_begin) --out;
  return out;
}

void require_pooled(std::string_view op, const Tensor& x, const PoolGeometry& g, std::string_view y_name,
                    const Tensor& y) {
  require_shape(op, y_name, y, pool2d_output_shape(x.shape(), g));
  require_dtype(op, y_name, y, {x.dtype()});
  require_device(op, y_name, y, x);
}

void require_index(std::string_view op, const Tensor& x, const Tensor& y, const Tensor& index) {
  require_shape(op, "index", index, y.shape());
  require_dtype(op, "index", index, {DType::i32});
  require_device(op, "index", index, y);
  require(x.dim(1) * x.dim(2) <= INT32_MAX, op, "x: a map of more than 2^31 - 1 pixels");
}

void require_undilated(std::string_view op, const PoolGeometry& g) {
  require(g.dilation_h == 1 && g.dilation_w == 1, op, "dilation: expected 1, average pooling has none");
}

}  // namespace

Shape pool2d_output_shape(const Shape& x, const PoolGeometry& g) {
  if (x.rank() != 4) throw ArgumentError(fmt::format("pool2d: x: expected [N,H,W,C], got {}", to_string(x)));
  const Side rows{"height", g.kernel_h, g.stride_h, g.pad_top, g.pad_bottom, g.dilation_h};
  const Side columns{"width", g.kernel_w, g.stride_w, g.pad_left, g.pad_right, g.dilation_w};
  return {x[0], output_size(rows, x[1], g.ceil_mode), output_size(columns, x[2], g.ceil_mode), x[3]};
}

void max_pool2d_forward(const Tensor& x, const PoolGeometry& g, Tensor& y, Tensor& index) {
  constexpr std::string_view kOp = "max_pool2d";
  require_rank(kOp, "x", x, 4);
  require_float(kOp, "x", x);
  require_pooled(kOp, x, g, "y", y);
  require_index(kOp, x, y, index);
  if (y.numel() == 0) return;
  const OpScope scope(kOp, y, [&] { return OpWork{bytes_of(x, y, index)}; });
  on_device(
      x, [&] { cuda::max_pool2d_forward(x, g, y, index); }, [&] { cpu::max_pool2d_forward(x, g, y, index); });
}

void max_pool2d_backward(const Tensor& dy, const Tensor& index, const PoolGeometry& g, Tensor& dx) {
  constexpr std::string_view kOp = "max_pool2d_backward";
  require_rank(kOp, "dx", dx, 4);
  require_float(kOp, "dx", dx);
  require_pooled(kOp, dx, g, "dy", dy);
  require_index(kOp, dx, dy, index);
  if (dx.numel() == 0) return;
  const OpScope scope(kOp, dx, [&] { return OpWork{bytes_of(dy, index, dx)}; });
  on_device(
      dx, [&] { cuda::max_pool2d_backward(dy, index, g, dx); }, [&] { cpu::max_pool2d_backward(dy, index, g, dx); });
}

void avg_pool2d_forward(const Tensor& x, const PoolGeometry& g, Tensor& y) {
  constexpr std::string_view kOp = "avg_pool2d";
  require_rank(kOp, "x", x, 4);
  require_float(kOp, "x", x);
  require_undilated(kOp, g);
  require_pooled(kOp, x, g, "y", y);
  if (y.numel() == 0) return;
  const OpScope scope(kOp, y, [&] { return OpWork{bytes_of(x, y)}; });
  on_device(
      x, [&] { cuda::avg_pool2d_forward(x, g, y); }, [&] { cpu::avg_pool2d_forward(x, g, y); });
}

void avg_pool2d_backward(const Tensor& dy, const PoolGeometry& g, Tensor& dx) {
  constexpr std::string_view kOp = "avg_pool2d_backward";
  require_rank(kOp, "dx", dx, 4);
  require_float(kOp, "dx", dx);
  require_undilated(kOp, g);
  require_pooled(kOp, dx, g, "dy", dy);
  if (dx.numel() == 0) return;
  const OpScope scope(kOp, dx, [&] { return OpWork{bytes_of(dy, dx)}; });
  on_device(
      dx, [&] { cuda::avg_pool2d_backward(dy, g, dx); }, [&] { cpu::avg_pool2d_backward(dy, g, dx); });
}

namespace {
void require_means(std::string_view op, std::string_view x_name, const Tensor& x, std::string_view y_name,
                   const Tensor& y) {
  require_rank(op, x_name, x, 4);
  require_float(op, x_name, x);
  require_shape(op, y_name, y, Shape{x.dim(0), 1, 1, x.dim(3)});
  require_dtype(op, y_name, y, {x.dtype()});
  require_device(op, y_name, y, x);
}
}  // namespace

void global_avg_pool_forward(const Tensor& x, Tensor& y) {
  require_means("global_avg_pool", "x", x, "y", y);
  if (y.numel() == 0) return;
  require(x.numel() > 0, "global_avg_pool", "x: a map without pixels has no mean");
  const OpScope scope("global_avg_pool", y, [&] { return OpWork{bytes_of(x, y)}; });
  on_device(
      x, [&] { cuda::global_avg_pool_forward(x, y); }, [&] { cpu::global_avg_pool_forward(x, y); });
}

void global_avg_pool_backward(const Tensor& dy, Tensor& dx) {
  require_means("global_avg_pool_backward", "dx", dx, "dy", dy);
  if (dx.numel() == 0) return;
  const OpScope scope("global_avg_pool_backward", dx, [&] { return OpWork{bytes_of(dy, dx)}; });
  on_device(
      dy, [&] { cuda::global_avg_pool_backward(dy, dx); }, [&] { cpu::global_avg_pool_backward(dy, dx); });
}

}  // namespace segrt::kernels
