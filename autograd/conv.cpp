#include "autograd/conv.h"

#include "autograd/op_attributes.h"
#include "core/error.h"
#include "core/op_scope.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "kernels/reduce.h"

namespace segrt::autograd {
namespace {
// db[o] = sum of dy over everything but the last dimension.
Tensor bias_gradient(const Tensor& dy, DType dtype) {
  Tensor db = Tensor::empty({dy.dim(-1)}, dtype, dy.device());
  kernels::sum_to(dy, db);
  return db;
}
}  // namespace

Var conv2d(const Var& x, const Var& w, const Var& bias, const kernels::ConvGeometry& g) {
  const FunctionScope scope("conv2d", x.device());
  Tensor y = Tensor::empty(kernels::conv2d_output_shape(x.shape(), w.shape(), g), x.dtype(), x.device());
  kernels::conv2d_forward(x.value(), w.value(), {.bias = bias.defined() ? &bias.value() : nullptr}, g, y);
  if (const auto& see = y.device().op_observer)
    see({"conv2d", {x.value(), w.value(), bias.value()}, y, attributes_of(g)});
  const bool dx_wanted = x.needs_grad(), dw_wanted = w.needs_grad(), db_wanted = bias.needs_grad();
  const DType bias_dtype = bias.defined() ? bias.dtype() : DType::f32;
  // dw needs x, dx needs w and x's shape.
  return record(
      "conv2d", {x, w, bias}, y,
      [xv = x.value(), wv = w.value(), g, dx_wanted, dw_wanted, db_wanted, bias_dtype](const Tensor& dy) -> Grads {
        Tensor dx, dw, db;
        if (db_wanted) db = bias_gradient(dy, bias_dtype);
        if (dw_wanted) {
          dw = Tensor::like(wv);
          kernels::conv2d_backward_weight(xv, dy, g, dw);
        }
        if (dx_wanted) {
          dx = Tensor::like(xv);
          kernels::conv2d_backward_input(dy, wv, g, dx);
        }
        return {dx, dw, db};
      });
}

Var conv_transpose2d(const Var& x, const Var& w, const Var& bias, const TransposeOptions& o) {
  const FunctionScope scope("conv_transpose2d", x.device());
  const kernels::ConvGeometry g = o.geometry;
  const Shape shape =
      kernels::conv_transpose2d_output_shape(x.shape(), w.shape(), g, o.output_padding_h, o.output_padding_w);
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  kernels::conv2d_backward_input(x.value(), w.value(), g, y);
  if (bias.defined()) {
    Tensor b = bias.value();
    if (b.dtype() != y.dtype()) {
      b = Tensor::empty(b.shape(), y.dtype(), y.device());
      kernels::cast(bias.value(), b);
    }
    kernels::binary_forward(kernels::Binary::add, y, b, y);
  }
  if (const auto& see = y.device().op_observer)
    see({"conv_transpose2d", {x.value(), w.value(), bias.value()}, y, attributes_of(g)});
  const bool dx_wanted = x.needs_grad(), dw_wanted = w.needs_grad(), db_wanted = bias.needs_grad();
  const DType bias_dtype = bias.defined() ? bias.dtype() : DType::f32;
  return record(
      "conv_transpose2d", {x, w, bias}, y,
      [xv = x.value(), wv = w.value(), g, dx_wanted, dw_wanted, db_wanted, bias_dtype](const Tensor& dy) -> Grads {
        Tensor dx, dw, db;
        if (db_wanted) db = bias_gradient(dy, bias_dtype);
        if (dw_wanted) {
          dw = Tensor::like(wv);
          kernels::conv2d_backward_weight(dy, xv, g, dw);
        }
        if (dx_wanted) {
          dx = Tensor::like(xv);
          kernels::conv2d_forward(dy, wv, {}, g, dx);
        }
        return {dx, dw, db};
      });
}

Var linear(const Var& x, const Var& w, const Var& bias) {
  const FunctionScope scope("linear", x.device());
  if (x.shape().rank() < 1 || w.shape().rank() != 2 || w.dim(1) != x.dim(-1))
    throw ArgumentError("linear: w: expected [O," + std::to_string(x.shape().rank() ? x.dim(-1) : 0) + "], got " +
                        to_string(w.shape()));
  const int64_t in = x.dim(-1), out = w.dim(0), rows = in == 0 ? 0 : x.value().numel() / in;
  std::vector<int64_t> dims(x.shape().dims().begin(), x.shape().dims().end());
  dims.back() = out;
  const Tensor flat = x.value().reshape({rows, in});
  Tensor y = Tensor::empty({rows, out}, x.dtype(), x.device());
  kernels::matmul(flat, w.value(), {.transpose_b = true, .bias = bias.defined() ? &bias.value() : nullptr}, y);
  y = y.reshape(Shape(std::span<const int64_t>(dims)));
  if (const auto& see = y.device().op_observer) see({"linear", {x.value(), w.value(), bias.value()}, y});
  const bool dx_wanted = x.needs_grad(), dw_wanted = w.needs_grad(), db_wanted = bias.needs_grad();
  const DType bias_dtype = bias.defined() ? bias.dtype() : DType::f32;
  return record("linear", {x, w, bias}, y,
                [flat, shape = x.shape(), wv = w.value(), dx_wanted, dw_wanted, db_wanted,
                 bias_dtype](const Tensor& dy) -> Grads {
                  const Tensor dy2 = dy.reshape({flat.dim(0), wv.dim(0)});
                  Tensor dx, dw, db;
                  if (db_wanted) db = bias_gradient(dy2, bias_dtype);
                  if (dw_wanted) {
                    dw = Tensor::like(wv);
                    kernels::matmul(dy2, flat, {.transpose_a = true}, dw);
                  }
                  if (dx_wanted) {
                    Tensor d = Tensor::like(flat);
                    kernels::matmul(dy2, wv, {}, d);
                    dx = d.reshape(shape);
                  }
                  return {dx, dw, db};
                });
}

Var matmul(const Var& a, const Var& b) {
  const FunctionScope scope("matmul", a.device());
  const bool batched = a.shape().rank() == 3;
  if (a.shape().rank() != b.shape().rank() || (a.shape().rank() != 2 && !batched))
    throw ArgumentError("matmul: expected two matrices or two batches, got " + to_string(a.shape()) + " and " +
                        to_string(b.shape()));
  Tensor c =
      Tensor::empty(batched ? Shape{a.dim(0), a.dim(1), b.dim(2)} : Shape{a.dim(0), b.dim(1)}, a.dtype(), a.device());
  kernels::matmul(a.value(), b.value(), {}, c);
  const bool da_wanted = a.needs_grad(), db_wanted = b.needs_grad();
  return record("matmul", {a, b}, c, [av = a.value(), bv = b.value(), da_wanted, db_wanted](const Tensor& dc) -> Grads {
    Tensor da, db;
    if (da_wanted) {
      da = Tensor::like(av);
      kernels::matmul(dc, bv, {.transpose_b = true}, da);
    }
    if (db_wanted) {
      db = Tensor::like(bv);
      kernels::matmul(av, dc, {.transpose_a = true}, db);
    }
    return {da, db};
  });
}

}  // namespace segrt::autograd
