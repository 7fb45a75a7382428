#include "autograd/deform.h"

#include <fmt/format.h>

#include <algorithm>

#include "autograd/conv_backward.h"
#include "autograd/converted.h"
#include "autograd/sample_sums.h"
#include "core/error.h"
#include "core/op_event.h"
#include "core/op_scope.h"
#include "kernels/conv.h"
#include "kernels/elementwise.h"
#include "kernels/reduce.h"

namespace segrt::autograd {
namespace {

// What is sampled, kept for a backward pass.
struct Sampled {
  Tensor x, offset, mask;  // mask undefined: none
  kernels::DeformGeometry g;
  bool dx_wanted, doffset_wanted, dmask_wanted;

  Sampled(const Var& xv, const Var& offsets, const Var& masks, const kernels::DeformGeometry& geometry)
      : x(xv.value()),
        offset(offsets.value()),
        mask(masks.value()),
        g(geometry),
        dx_wanted(xv.needs_grad()),
        doffset_wanted(offsets.needs_grad()),
        dmask_wanted(masks.needs_grad()) {}

  // Of samples first to first + count, for the gradient of weights alone.
  Sampled part(int64_t first, int64_t count) const {
    Sampled s = *this;
    s.x = x.slice(first, count);
    s.offset = offset.slice(first, count);
    if (mask.defined()) s.mask = mask.slice(first, count);
    s.dx_wanted = s.doffset_wanted = s.dmask_wanted = false;
    return s;
  }

  kernels::DeformInput input() const { return {x, offset, mask.defined() ? &mask : nullptr, g}; }
  bool gradients_wanted() const { return dx_wanted || doffset_wanted || dmask_wanted; }
};

// The gradients of what is sampled, filled some rows at a time.
struct SampledGradients {
  Tensor dx_sum, doffset, dmask;

  explicit SampledGradients(const Sampled& s) {
    if (s.dx_wanted)
      dx_sum = Tensor::zeros(s.x.shape(), s.x.dtype() == DType::f64 ? DType::f64 : DType::f32, s.x.device());
    if (s.doffset_wanted) doffset = Tensor::like(s.offset);
    if (s.dmask_wanted) dmask = Tensor::like(s.mask);
  }
  void add_rows(const Sampled& s, int64_t first_row, const Tensor& dcolumns) {
    const auto wanted = [](Tensor& t) { return t.defined() ? &t : nullptr; };
    kernels::deform_unfold_backward(s.input(), first_row, dcolumns, {wanted(dx_sum), wanted(doffset), wanted(dmask)});
  }
  Tensor dx(DType dtype) const { return dx_sum.defined() ? converted(dx_sum, dtype) : dx_sum; }
};

// The product of columns with weights, as a convolution whose window is all of a position's columns: it finds the
// fastest kernel there is.
struct ColumnConv {
  Shape map, w;  // how columns and weights are seen
  kernels::ConvGeometry g;

  // columns [R,Q,K,C], weights [O,kh,kw,C/groups]
  ColumnConv(const Shape& columns, const Shape& weights, int groups) {
    const int64_t rows = columns[0], width = columns[1], taps = columns[2], channels = columns[3];
    if (groups == 1) {
      map = {1, rows, width, taps * channels};
      w = {weights[0], 1, 1, taps * channels};
    } else {  // a row of K pixels, under a window of 1 x K
      map = {rows, width, taps, channels};
      w = {weights[0], 1, taps, channels / groups};
      g.groups = groups;
    }
  }
  // Of y [R,Q,O].
  Shape output(const Shape& y) const { return g.groups == 1 ? Shape{1, y[0], y[1], y[2]} : Shape{y[0], y[1], 1, y[2]}; }
};

// The rows of a convolution's outputs, a bounded number at a time.
struct DeformConv {
  Sampled sampled;
  Tensor w;  // [O,kh,kw,C/groups]
  int groups;
  int64_t rows, width, rows_at_once;

  DeformConv(const Sampled& s, const Tensor& weights, const DeformConvOptions& o)
      : sampled(s), w(weights), groups(o.groups), rows(s.offset.dim(0) * s.offset.dim(1)), width(s.offset.dim(2)) {
    const int64_t row_bytes = width * s.g.taps() * s.x.dim(3) * static_cast<int64_t>(size_of(s.x.dtype()));
    const int64_t most = std::max<int64_t>(1, o.column_bytes / std::max<int64_t>(1, row_bytes));
    const int64_t parts = std::max<int64_t>(1, (rows + most - 1) / most);
    rows_at_once = std::max<int64_t>(1, (rows + parts - 1) / parts);  // of about the same size
  }

  // f(first row, columns to fill), over all rows. The columns of each call are in the memory of the last.
  template <typename F>
  void for_rows(const F& f) const {
    if (rows == 0) return;
    const Tensor columns =
        Tensor::empty({rows_at_once, width, sampled.g.taps(), sampled.x.dim(3)}, sampled.x.dtype(), sampled.x.device());
    for (int64_t row = 0; row < rows; row += rows_at_once) f(row, columns.slice(0, std::min(rows_at_once, rows - row)));
  }

  // The rows of y (or dy) [N,P,Q,O] that belong to the columns, as the convolution sees them.
  static Tensor rows_of(const Tensor& y, int64_t row, const Tensor& columns, const ColumnConv& conv) {
    const Tensor part = y.reshape({y.dim(0) * y.dim(1), y.dim(2), y.dim(3)}).slice(row, columns.dim(0));
    return part.reshape(conv.output(part.shape()));
  }

  void forward(const Tensor* bias, Tensor& y) const {
    for_rows([&](int64_t row, Tensor columns) {
      kernels::deform_unfold(sampled.input(), row, columns);
      const ColumnConv conv(columns.shape(), w.shape(), groups);
      Tensor part = rows_of(y, row, columns, conv);
      kernels::conv2d_forward(columns.reshape(conv.map), w.reshape(conv.w), {.bias = bias}, conv.g, part);
    });
  }

  // dw (where defined, f32 or f64: a sum over parts) and the gradients of what is sampled.
  void backward(const Tensor& dy, Tensor& dw, SampledGradients& gradients) const {
    Tensor dw_part = dw.defined() && rows_at_once < rows ? Tensor::like(dw) : Tensor();
    if (dw.defined() && rows == 0) dw.fill_zero();
    for_rows([&](int64_t row, Tensor columns) {
      const ColumnConv conv(columns.shape(), w.shape(), groups);
      const Tensor dy_part = rows_of(dy, row, columns, conv);
      Tensor map = columns.reshape(conv.map);
      if (dw.defined()) {
        kernels::deform_unfold(sampled.input(), row, columns);
        Tensor part = (row == 0 ? dw : dw_part).reshape(conv.w);
        kernels::conv2d_backward_weight(map, dy_part, conv.g, part);
        if (row > 0) kernels::binary_forward(kernels::Binary::add, dw, dw_part, dw);
      }
      if (sampled.gradients_wanted()) {
        kernels::conv2d_backward_input(dy_part, w.reshape(conv.w), conv.g, map);
        gradients.add_rows(sampled, row, columns);
      }
    });
  }
};

void require_weights(const Var& x, const Var& w, const DeformConvOptions& o) {
  const Shape& s = w.shape();
  const auto fail = [](const std::string& message) { throw ArgumentError("deform_conv2d: " + message); };
  if (o.groups < 1 || x.dim(3) % o.groups != 0)
    fail(fmt::format("groups: expected a divisor of x's {} channels, got {}", x.dim(3), o.groups));
  if (s.rank() != 4 || s[1] != o.geometry.kernel_h || s[2] != o.geometry.kernel_w || s[3] != x.dim(3) / o.groups)
    fail(fmt::format("w: expected [O,{},{},{}], got {}", o.geometry.kernel_h, o.geometry.kernel_w, x.dim(3) / o.groups,
                     to_string(s)));
  if (s[0] % o.groups != 0)
    fail(fmt::format("groups: expected a divisor of w's {} output channels, got {}", s[0], o.groups));
}

void require_offsets(const Shape& out, const Var& offset, const kernels::DeformGeometry& g) {
  const Shape expected{out[0], out[1], out[2], int64_t{2} * g.groups * g.taps()};
  if (offset.shape() != expected)
    throw ArgumentError(
        fmt::format("deform_conv2d: offset: expected {}, got {}", to_string(expected), to_string(offset.shape())));
}

void report(const char* op, const Sampled& s, const Tensor& w, const Tensor& bias, int groups, const Tensor& y) {
  const auto& see = y.device().op_observer;
  if (!see) return;
  const auto list = [](auto... v) { return std::vector<double>{static_cast<double>(v)...}; };
  see({op,
       {s.x, s.offset, s.mask, w, bias},
       y,
       {{"kernel", list(s.g.kernel_h, s.g.kernel_w)},
        {"stride", list(s.g.stride_h, s.g.stride_w)},
        {"pad", list(s.g.pad_top, s.g.pad_left, s.g.pad_bottom, s.g.pad_right)},
        {"dilation", list(s.g.dilation_h, s.g.dilation_w)},
        {"groups", list(groups)},
        {"offset_groups", list(s.g.groups)}}});
}

}  // namespace

Var deform_unfold(const Var& x, const Var& offset, const Var& mask, const kernels::DeformGeometry& g) {
  const FunctionScope scope("deform_unfold", x.device());
  const Shape out = kernels::deform_output_shape("deform_unfold", x.shape(), g);
  const Shape rows{out[0] * out[1], out[2], g.taps(), x.dim(3)};
  Tensor columns = Tensor::empty(rows, x.dtype(), x.device());
  const Sampled sampled(x, offset, mask, g);
  kernels::deform_unfold(sampled.input(), 0, columns);
  const Tensor y = columns.reshape({out[0], out[1], out[2], rows[2], rows[3]});
  report("deform_unfold", sampled, {}, {}, 1, y);
  return record("deform_unfold", {x, offset, mask}, y, [sampled, rows](const Tensor& dy) -> Grads {
    SampledGradients gradients(sampled);
    gradients.add_rows(sampled, 0, dy.reshape(rows));
    return {gradients.dx(dy.dtype()), gradients.doffset, gradients.dmask};
  });
}

Var deform_conv2d(const Var& x, const Var& offset, const Var& mask, const Var& w, const Var& bias,
                  const DeformConvOptions& o) {
  constexpr const char* kOp = "deform_conv2d";
  const FunctionScope scope(kOp, x.device());
  const Shape out = kernels::deform_output_shape(kOp, x.shape(), o.geometry);
  require_weights(x, w, o);
  require_offsets(out, offset, o.geometry);
  const DeformConv conv(Sampled(x, offset, mask, o.geometry), w.value(), o);
  Tensor y = Tensor::empty({out[0], out[1], out[2], w.dim(0)}, x.dtype(), x.device());
  conv.forward(bias.defined() ? &bias.value() : nullptr, y);
  report(kOp, conv.sampled, w.value(), bias.value(), o.groups, y);
  return record(kOp, {x, offset, mask, w, bias}, y,
                [conv, options = o, dw_wanted = w.needs_grad(), dw_by_sample = sums_by_sample(w),
                 bias_gradient = BiasGradient(bias)](const Tensor& dy) -> Grads {
                  const DType dtype = conv.w.dtype(), wide = dtype == DType::f64 ? DType::f64 : DType::f32;
                  Tensor dw;
                  if (dw_wanted && !dw_by_sample) dw = Tensor::empty(conv.w.shape(), wide, dy.device());
                  SampledGradients gradients(conv.sampled);
                  conv.backward(dy, dw, gradients);
                  if (dw_by_sample)
                    dw = sum_over_samples<1>({conv.w}, dy.dim(0), true, [&](int64_t n, int64_t count, auto& parts) {
                      const DeformConv part(conv.sampled.part(n, count), conv.w, options);
                      SampledGradients none(part.sampled);
                      part.backward(dy.slice(n, count), parts[0], none);
                    })[0];
                  else if (dw_wanted)
                    dw = converted(dw, dtype);
                  return {gradients.dx(dtype), gradients.doffset, gradients.dmask, dw, bias_gradient(dy)};
                });
}

}  // namespace segrt::autograd
