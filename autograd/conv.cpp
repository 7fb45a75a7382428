#include "autograd/conv.h"

#include "autograd/conv_backward.h"
#include "autograd/elementwise.h"
#include "autograd/op_attributes.h"
#include "autograd/sample_sums.h"
#include "core/error.h"
#include "core/op_scope.h"
#include "kernels/elementwise.h"
#include "kernels/linear.h"
#include "kernels/matmul.h"
#include "kernels/reduce.h"

namespace segrt::autograd {

Var conv2d(const Var& x, const Var& w, const Var& bias, const kernels::ConvGeometry& g, const Var& residual) {
  const FunctionScope scope("conv2d", x.device());
  Tensor y = Tensor::empty(kernels::conv2d_output_shape(x.shape(), w.shape(), g), x.dtype(), x.device());
  kernels::conv2d_forward(
      x.value(), w.value(),
      {.bias = bias.defined() ? &bias.value() : nullptr, .residual = residual.defined() ? &residual.value() : nullptr},
      g, y);
  if (const auto& see = y.device().op_observer)
    see({"conv2d", {x.value(), w.value(), bias.value(), residual.value()}, y, attributes_of(g)});
  // dw needs x, dx needs w and x's shape.
  return record("conv2d", {x, w, bias, residual}, y,
                [gradients = ConvBackward(x, w, g), bias_gradient = BiasGradient(bias)](const Tensor& dy) -> Grads {
                  const Tensor db = bias_gradient(dy);
                  const auto [dx, dw] = gradients(dy);
                  return {dx, dw, db, dy};
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
  return record("conv_transpose2d", {x, w, bias}, y,
                [xv = x.value(), wv = w.value(), g, dx_wanted = x.needs_grad(), dw_wanted = w.needs_grad(),
                 by_sample = sums_by_sample(w), bias_gradient = BiasGradient(bias)](const Tensor& dy) -> Grads {
                  Tensor dx, dw;
                  if (dw_wanted)
                    dw =
                        sum_over_samples<1>({wv}, xv.dim(0), by_sample, [&](int64_t first, int64_t count, auto& parts) {
                          kernels::conv2d_backward_weight(dy.slice(first, count), xv.slice(first, count), g, parts[0]);
                        })[0];
                  if (dx_wanted) {
                    dx = Tensor::like(xv);
                    kernels::conv2d_forward(dy, wv, {}, g, dx);
                  }
                  return {dx, dw, bias_gradient(dy)};
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

// Of a layer: dw, and db where there is a bias that wants it: one pass over dy where the device has it.
struct WeightGradients {
  Tensor w, bias;
  bool dw_wanted, db_wanted, by_sample;

  WeightGradients(const Var& w_var, const Var& bias_var)
      : w(w_var.value()),
        bias(bias_var.value()),
        dw_wanted(w_var.needs_grad()),
        db_wanted(bias_var.needs_grad()),
        by_sample(dw_wanted ? sums_by_sample(w_var) : sums_by_sample(bias_var)) {}

  bool wanted() const { return dw_wanted || db_wanted; }
  // x [R,I], dy [R,O], the rows of `samples` samples: dw, db.
  std::array<Tensor, 2> operator()(const Tensor& x, const Tensor& dy, int64_t samples) const {
    const int64_t rows = samples == 0 ? 0 : x.dim(0) / samples;
    return sum_over_samples<2>({dw_wanted ? w : Tensor(), db_wanted ? bias : Tensor()}, samples, by_sample,
                               [&](int64_t first, int64_t count, auto& parts) {
                                 auto& [dw, db] = parts;
                                 const Tensor dy_part = dy.slice(first * rows, count * rows);
                                 if (dw_wanted)
                                   kernels::linear_backward_weight(x.slice(first * rows, count * rows), dy_part, dw,
                                                                   db_wanted ? &db : nullptr);
                                 else if (db_wanted)
                                   kernels::sum_to(dy_part, db);
                               });
  }
};
}  // namespace

Var linear(const Var& x, const Var& w, const Var& bias) {
  const FunctionScope scope("linear", x.device());
  require_linear("linear", x.shape(), "w", w.shape());
  const Tensor flat = as_rows(x.value());
  Tensor y = Tensor::empty({flat.dim(0), w.dim(0)}, x.dtype(), x.device());
  kernels::linear_forward(flat, w.value(), {.bias = bias.defined() ? &bias.value() : nullptr}, y);
  y = y.reshape(with_channels(x.shape(), w.dim(0)));
  if (const auto& see = y.device().op_observer) see({"linear", {x.value(), w.value(), bias.value()}, y});
  return record("linear", {x, w, bias}, y,
                [flat, shape = x.shape(), dx_wanted = x.needs_grad(),
                 gradients = WeightGradients(w, bias)](const Tensor& dy) -> Grads {
                  const Tensor dy2 = dy.reshape({flat.dim(0), gradients.w.dim(0)});
                  const auto [dw, db] = gradients(flat, dy2, samples_of(shape));
                  Tensor dx;
                  if (dx_wanted) {
                    dx = Tensor::like(flat);
                    kernels::linear_backward_input(dy2, gradients.w, nullptr, dx);
                    dx = dx.reshape(shape);
                  }
                  return {dx, dw, db};
                });
}

Var mlp(const Var& x, const MlpWeights& m) {
  const FunctionScope scope("mlp", x.device());
  require_linear("mlp", x.shape(), "w1", m.w1.shape());
  require_linear("mlp", with_channels(x.shape(), m.w1.dim(0)), "w2", m.w2.shape());
  // Who watches operators knows the parts.
  if (x.device().op_observer) return linear(gelu(linear(x, m.w1, m.b1)), m.w2, m.b2);
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
  return record("mlp", {x, m.w1, m.b1, m.w2, m.b2}, y,
                [flat, pre, hidden, shape = x.shape(), dx_wanted = x.needs_grad(), first = WeightGradients(m.w1, m.b1),
                 second = WeightGradients(m.w2, m.b2)](const Tensor& dy) -> Grads {
                  const Tensor dy2 = dy.reshape({flat.dim(0), second.w.dim(0)});
                  const auto [dw2, db2] = second(hidden, dy2, samples_of(shape));
                  Tensor dx;
                  std::array<Tensor, 2> g1;
                  if (dx_wanted || first.wanted()) {
                    Tensor dpre = Tensor::like(pre);
                    kernels::linear_backward_input(dy2, second.w, &pre, dpre);
                    g1 = first(flat, dpre, samples_of(shape));
                    if (dx_wanted) {
                      dx = Tensor::like(flat);
                      kernels::linear_backward_input(dpre, first.w, nullptr, dx);
                      dx = dx.reshape(shape);
                    }
                  }
                  return {dx, g1[0], g1[1], dw2, db2};
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
