#include "autograd/conv.h"

#include "autograd/conv_backward.h"
#include "autograd/op_attributes.h"
#include "core/error.h"
#include "kernels/elementwise.h"
#include "kernels/linear.h"
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

Var conv2d(const Var& x, const Var& w, const Var& bias, const kernels::ConvGeometry& g, const Var& residual) {
  Tensor y = Tensor::empty(kernels::conv2d_output_shape(x.shape(), w.shape(), g), x.dtype(), x.device());
  kernels::conv2d_forward(
      x.value(), w.value(),
      {.bias = bias.defined() ? &bias.value() : nullptr, .residual = residual.defined() ? &residual.value() : nullptr},
      g, y);
  if (const auto& see = y.device().op_observer)
    see({"conv2d", {x.value(), w.value(), bias.value(), residual.value()}, y, attributes_of(g)});
  // dw needs x, dx needs w and x's shape.
  return record(
      "conv2d", {x, w, bias, residual}, y,
      [gradients = ConvBackward{x.value(), w.value(), g, x.needs_grad(), w.needs_grad()}, db_wanted = bias.needs_grad(),
       bias_dtype = bias.defined() ? bias.dtype() : DType::f32](const Tensor& dy) -> Grads {
        Tensor db;
        if (db_wanted) db = bias_gradient(dy, bias_dtype);
        const auto [dx, dw] = gradients(dy);
        return {dx, dw, db, dy};
      });
}

Var conv_transpose2d(const Var& x, const Var& w, const Var& bias, const TransposeOptions& o) {
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

namespace {
// [..., I] as [rows, I].
Tensor as_rows(const Tensor& x) {
  const int64_t in = x.dim(-1);
  return x.reshape({in == 0 ? 0 : x.numel() / in, in});
}

Shape with_channels(const Shape& shape, int64_t channels) {
  std::vector<int64_t> dims(shape.dims().begin(), shape.dims().end());
  dims.back() = channels;
  return Shape(std::span<const int64_t>(dims));
}

void require_linear(std::string_view op, const Shape& x, std::string_view name, const Shape& w) {
  if (x.rank() < 1 || w.rank() != 2 || w[1] != x[x.rank() - 1])
    throw ArgumentError(std::string(op) + ": " + std::string(name) + ": expected [O," +
                        std::to_string(x.rank() ? x[x.rank() - 1] : 0) + "], got " + to_string(w));
}

// dw, and db where there is a bias that wants it: one pass over dy where the device has it.
struct WeightGradients {
  Tensor dw, db;
};
WeightGradients weight_gradients(const Tensor& x, const Tensor& dy, const Tensor& w, const Tensor& bias, bool dw_wanted,
                                 bool db_wanted) {
  WeightGradients g;
  if (db_wanted) g.db = Tensor::like(bias);
  if (dw_wanted) {
    g.dw = Tensor::like(w);
    kernels::linear_backward_weight(x, dy, g.dw, db_wanted ? &g.db : nullptr);
  } else if (db_wanted) {
    kernels::sum_to(dy, g.db);
  }
  return g;
}
}  // namespace

Var linear(const Var& x, const Var& w, const Var& bias) {
  require_linear("linear", x.shape(), "w", w.shape());
  const Tensor flat = as_rows(x.value());
  Tensor y = Tensor::empty({flat.dim(0), w.dim(0)}, x.dtype(), x.device());
  kernels::linear_forward(flat, w.value(), {.bias = bias.defined() ? &bias.value() : nullptr}, y);
  y = y.reshape(with_channels(x.shape(), w.dim(0)));
  if (const auto& see = y.device().op_observer) see({"linear", {x.value(), w.value(), bias.value()}, y});
  const bool dx_wanted = x.needs_grad(), dw_wanted = w.needs_grad(), db_wanted = bias.needs_grad();
  return record("linear", {x, w, bias}, y,
                [flat, shape = x.shape(), wv = w.value(), bias_v = bias.value(), dx_wanted, dw_wanted,
                 db_wanted](const Tensor& dy) -> Grads {
                  const Tensor dy2 = dy.reshape({flat.dim(0), wv.dim(0)});
                  const WeightGradients g = weight_gradients(flat, dy2, wv, bias_v, dw_wanted, db_wanted);
                  Tensor dx;
                  if (dx_wanted) {
                    dx = Tensor::like(flat);
                    kernels::linear_backward_input(dy2, wv, nullptr, dx);
                    dx = dx.reshape(shape);
                  }
                  return {dx, g.dw, g.db};
                });
}

Var mlp(const Var& x, const MlpWeights& m) {
  require_linear("mlp", x.shape(), "w1", m.w1.shape());
  require_linear("mlp", with_channels(x.shape(), m.w1.dim(0)), "w2", m.w2.shape());
  const auto pointer = [](const Var& v) { return v.defined() ? &v.value() : nullptr; };
  const Tensor flat = as_rows(x.value());
  const bool recorded = recording({x, m.w1, m.b1, m.w2, m.b2});
  Tensor hidden = Tensor::empty({flat.dim(0), m.w1.dim(0)}, x.dtype(), x.device());
  Tensor pre = recorded ? Tensor::like(hidden) : Tensor();
  kernels::linear_forward(
      flat, m.w1.value(),
      {.bias = pointer(m.b1), .activation = kernels::LinearActivation::gelu, .pre = recorded ? &pre : nullptr}, hidden);
  Tensor y = Tensor::empty({flat.dim(0), m.w2.dim(0)}, x.dtype(), x.device());
  kernels::linear_forward(hidden, m.w2.value(), {.bias = pointer(m.b2)}, y);
  y = y.reshape(with_channels(x.shape(), m.w2.dim(0)));
  // The gradient of `pre` leaves the product that makes it, so that of `hidden` is never stored.
  return record(
      "mlp", {x, m.w1, m.b1, m.w2, m.b2}, y,
      [flat, pre, hidden, shape = x.shape(), w1 = m.w1.value(), w2 = m.w2.value(), b1 = m.b1.value(), b2 = m.b2.value(),
       dx_wanted = x.needs_grad(), dw1_wanted = m.w1.needs_grad(), db1_wanted = m.b1.needs_grad(),
       dw2_wanted = m.w2.needs_grad(), db2_wanted = m.b2.needs_grad()](const Tensor& dy) -> Grads {
        const Tensor dy2 = dy.reshape({flat.dim(0), w2.dim(0)});
        const WeightGradients g2 = weight_gradients(hidden, dy2, w2, b2, dw2_wanted, db2_wanted);
        WeightGradients g1;
        Tensor dx;
        if (dx_wanted || dw1_wanted || db1_wanted) {
          Tensor dpre = Tensor::like(pre);
          kernels::linear_backward_input(dy2, w2, &pre, dpre);
          g1 = weight_gradients(flat, dpre, w1, b1, dw1_wanted, db1_wanted);
          if (dx_wanted) {
            dx = Tensor::like(flat);
            kernels::linear_backward_input(dpre, w1, nullptr, dx);
            dx = dx.reshape(shape);
          }
        }
        return {dx, g1.dw, g1.db, g2.dw, g2.db};
      });
}

Var matmul(const Var& a, const Var& b) {
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
