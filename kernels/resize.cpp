#include "kernels/resize.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cpu/interpolate.h"
#include "kernels/cpu/resample.h"
#include "kernels/cpu/resize.h"
#include "kernels/cuda/interpolate.h"
#include "kernels/cuda/resample.h"
#include "kernels/cuda/resize.h"
#include "kernels/dispatch.h"
#include "kernels/resize_axis.h"

namespace segrt::kernels {
namespace {

// x and y: maps that differ in height and width alone.
void require_maps(std::string_view op, std::string_view x_name, const Tensor& x, std::string_view y_name,
                  const Tensor& y) {
  require_rank(op, x_name, x, 4);
  require_rank(op, y_name, y, 4);
  require_dtype(op, y_name, y, {x.dtype()});
  require_device(op, y_name, y, x);
  require_shape(op, y_name, y, Shape{x.dim(0), y.dim(1), y.dim(2), x.dim(3)});
}

UpsampleAxis axis_of(const ResizeOptions& o, int64_t in, int64_t out, double scale, Device& device) {
  const int from = static_cast<int>(in), to = static_cast<int>(out);
  return o.mode == ResizeMode::bilinear ? bilinear_axis(from, to, o.coordinates, scale, device)
                                        : nearest_axis(from, to, o.coordinates, o.rounding, scale, device);
}

UpsampleTaps taps_of(std::string_view op, const ResizeOptions& o, const Tensor& x, const Tensor& y) {
  if (!(o.scale_h >= 0 && o.scale_w >= 0))
    throw ArgumentError(fmt::format("{}: scale: expected factors >= 0, got {} and {}", op, o.scale_h, o.scale_w));
  if (x.dim(1) == 0 || x.dim(2) == 0)
    throw ArgumentError(fmt::format("{}: expected a map with pixels, got {}", op, to_string(x.shape())));
  return {axis_of(o, x.dim(1), y.dim(1), o.scale_h, x.device()), axis_of(o, x.dim(2), y.dim(2), o.scale_w, x.device())};
}

}  // namespace

void resize_forward(const Tensor& x, const ResizeOptions& options, Tensor& y) {
  require_float("resize", "x", x);
  require_maps("resize", "x", x, "y", y);
  if (y.numel() == 0) return;
  const OpScope scope("resize", y, [&] { return OpWork{bytes_of(x, y)}; });
  const UpsampleTaps taps = taps_of("resize", options, x, y);
  if (options.mode == ResizeMode::bilinear) {
    on_device(
        x, [&] { cuda::interpolate_forward(x, taps, y); }, [&] { cpu::interpolate_forward(x, taps, y); });
  } else {
    on_device(
        x, [&] { cuda::nearest_forward(x, taps, y); }, [&] { cpu::nearest_forward(x, taps, y); });
  }
}

void resize_backward(const Tensor& dy, const ResizeOptions& options, Tensor& dx) {
  require_float("resize_backward", "dy", dy);
  require_maps("resize_backward", "dy", dy, "dx", dx);
  if (dx.numel() == 0) return;
  if (dy.numel() == 0) {
    dx.fill_zero();
    return;
  }
  const OpScope scope("resize_backward", dx, [&] { return OpWork{bytes_of(dy, dx)}; });
  const UpsampleTaps taps = taps_of("resize_backward", options, dx, dy);
  if (options.mode == ResizeMode::bilinear) {
    on_device(
        dy, [&] { cuda::interpolate_backward(dy, taps, dx); }, [&] { cpu::interpolate_backward(dy, taps, dx); });
  } else {
    on_device(
        dy, [&] { cuda::nearest_backward(dy, taps, dx); }, [&] { cpu::nearest_backward(dy, taps, dx); });
  }
}

void resample_bilinear(const Tensor& x, Tensor& y) {
  constexpr std::string_view kOp = "resample_bilinear";
  require_dtype(kOp, "x", x, {DType::f32});
  require_maps(kOp, "x", x, "y", y);
  if (y.numel() == 0) return;
  if (x.numel() == 0)
    throw ArgumentError(fmt::format("{}: x: expected a map with pixels, got {}", kOp, to_string(x.shape())));
  const OpScope scope(kOp, y, [&] { return OpWork{bytes_of(x, y)}; });
  Device& device = x.device();
  const int64_t batch = x.dim(0), height = x.dim(1), channels = x.dim(3);
  const bool horizontal = x.dim(2) != y.dim(2), vertical = height != y.dim(1);
  const auto pass = [&](const Tensor& from, int64_t in, int64_t out, int64_t outer, int64_t inner, Tensor& to) {
    const ResampleTaps taps = resample_taps(static_cast<int>(in), static_cast<int>(out), device);
    on_device(
        x, [&] { cuda::resample_pass(from, taps, outer, inner, to); },
        [&] { cpu::resample_pass(from, taps, outer, inner, to); });
  };
  if (!horizontal && !vertical) {
    y.copy_from(x);
    return;
  }
  Tensor wide = x;
  if (horizontal) {
    wide = vertical ? Tensor::empty({batch, height, y.dim(2), channels}, DType::f32, device) : y;
    pass(x, x.dim(2), y.dim(2), batch * height, channels, wide);
  }
  if (vertical) pass(wide, height, y.dim(1), batch, y.dim(2) * channels, y);
}

void flip_horizontal(const Tensor& x, Tensor& y) {
  constexpr std::string_view kOp = "flip_horizontal";
  require_rank(kOp, "x", x, 4);
  require_same(kOp, "x", x, "y", y);
  require(x.numel() == 0 || x.raw() != y.raw() || x.device().is_meta(), kOp, "y: expected other memory than x");
  if (x.numel() == 0) return;
  const OpScope scope(kOp, y, [&] { return OpWork{bytes_of(x, y)}; });
  on_device(
      x, [&] { cuda::flip_horizontal(x, y); }, [&] { cpu::flip_horizontal(x, y); });
}

}  // namespace segrt::kernels
