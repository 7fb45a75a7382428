#include "kernels/deform.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cpu/deform.h"
#include "kernels/cuda/deform.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {
namespace {
void require_at_least(std::string_view op, std::string_view name, int least, int value) {
  require(value >= least, op, fmt::format("{}: expected at least {}, got {}", name, least, value));
}

struct Axis {
  std::string_view name;
  int64_t size;
  int kernel, stride, pad_before, pad_after, dilation;
};

int64_t output_size(std::string_view op, const Axis& a) {
  const int64_t span = int64_t{a.kernel - 1} * a.dilation + 1, padded = a.size + a.pad_before + a.pad_after;
  require(padded >= span, op,
          fmt::format("x: expected a padded {} of at least {} (kernel {}, dilation {}), got {} + {} + {}", a.name, span,
                      a.kernel, a.dilation, a.size, a.pad_before, a.pad_after));
  return (padded - span) / a.stride + 1;
}

void require_like(std::string_view op, std::string_view name, const Tensor& t, const Shape& shape, const Tensor& x) {
  require_shape(op, name, t, shape);
  require_dtype(op, name, t, {x.dtype()});
  require_device(op, name, t, x);
}

// `columns` (or their gradient, as `name`) are some rows of what `in` describes.
void require_rows(std::string_view op, const DeformInput& in, int64_t first_row, std::string_view name,
                  const Tensor& columns) {
  require_float(op, "x", in.x);
  const Shape out = deform_output_shape(op, in.x.shape(), in.geometry);
  const int64_t taps = in.geometry.taps(), samples = in.geometry.groups * taps;
  require_like(op, "offset", in.offset, Shape{out[0], out[1], out[2], 2 * samples}, in.x);
  if (in.mask != nullptr) require_like(op, "mask", *in.mask, Shape{out[0], out[1], out[2], samples}, in.x);
  require_rank(op, name, columns, 4);
  require_like(op, name, columns, Shape{columns.dim(0), out[2], taps, in.x.dim(3)}, in.x);
  const int64_t rows = out[0] * out[1];
  require(first_row >= 0 && first_row + columns.dim(0) <= rows, op,
          fmt::format("{}: expected rows within the {} of all images, got [{}, {})", name, rows, first_row,
                      first_row + columns.dim(0)));
}

int64_t flops(const Tensor& columns) { return 8 * columns.numel(); }  // four corners
}  // namespace

Shape deform_output_shape(std::string_view op, const Shape& x, const DeformGeometry& g) {
  require_at_least(op, "kernel_h", 1, g.kernel_h);
  require_at_least(op, "kernel_w", 1, g.kernel_w);
  require_at_least(op, "stride_h", 1, g.stride_h);
  require_at_least(op, "stride_w", 1, g.stride_w);
  require_at_least(op, "pad_top", 0, g.pad_top);
  require_at_least(op, "pad_left", 0, g.pad_left);
  require_at_least(op, "pad_bottom", 0, g.pad_bottom);
  require_at_least(op, "pad_right", 0, g.pad_right);
  require_at_least(op, "dilation_h", 1, g.dilation_h);
  require_at_least(op, "dilation_w", 1, g.dilation_w);
  require_at_least(op, "groups", 1, g.groups);
  require(x.rank() == 4, op, fmt::format("x: expected 4 dimensions [N,H,W,C], got {}", to_string(x)));
  require(x[3] % g.groups == 0, op,
          fmt::format("groups: expected a divisor of x's {} channels, got {}", x[3], g.groups));
  return {x[0], output_size(op, {"height", x[1], g.kernel_h, g.stride_h, g.pad_top, g.pad_bottom, g.dilation_h}),
          output_size(op, {"width", x[2], g.kernel_w, g.stride_w, g.pad_left, g.pad_right, g.dilation_w})};
}

void deform_unfold(const DeformInput& in, int64_t first_row, Tensor& columns) {
  constexpr std::string_view kOp = "deform_unfold";
  require_rows(kOp, in, first_row, "columns", columns);
  if (columns.numel() == 0) return;
  const OpScope scope(kOp, columns, [&] {
    return OpWork{bytes_of(in.x, in.offset, in.mask, columns), flops(columns)};
  });
  on_device(
      in.x, [&] { cuda::deform_unfold(in, first_row, columns); }, [&] { cpu::deform_unfold(in, first_row, columns); });
}

void deform_unfold_backward(const DeformInput& in, int64_t first_row, const Tensor& dcolumns,
                            const DeformGradients& gradients) {
  constexpr std::string_view kOp = "deform_unfold_backward";
  require_rows(kOp, in, first_row, "dcolumns", dcolumns);
  if (gradients.dx != nullptr) {
    require_shape(kOp, "dx", *gradients.dx, in.x.shape());
    require_dtype(kOp, "dx", *gradients.dx, {in.x.dtype() == DType::f64 ? DType::f64 : DType::f32});
    require_device(kOp, "dx", *gradients.dx, in.x);
  }
  if (gradients.doffset != nullptr) require_same(kOp, "offset", in.offset, "doffset", *gradients.doffset);
  if (gradients.dmask != nullptr) {
    require(in.mask != nullptr, kOp, "dmask: expected none, as there is no mask");
    require_same(kOp, "mask", *in.mask, "dmask", *gradients.dmask);
  }
  if (dcolumns.dim(0) == 0 || in.offset.numel() == 0) return;
  const OpScope scope(kOp, dcolumns, [&] {
    return OpWork{bytes_of(in.x, in.offset, in.mask, dcolumns, gradients.dx, gradients.doffset, gradients.dmask),
                  (gradients.dx != nullptr ? flops(dcolumns) : 0) +
                      (gradients.doffset != nullptr || gradients.dmask != nullptr ? flops(dcolumns) : 0)};
  });
  on_device(
      in.x, [&] { cuda::deform_unfold_backward(in, first_row, dcolumns, gradients); },
      [&] { cpu::deform_unfold_backward(in, first_row, dcolumns, gradients); });
}

}  // namespace segrt::kernels
