#include "autograd/elementwise.h"

#include <fmt/format.h>

#include "autograd/converted.h"
#include "autograd/sample_sums.h"
#include "core/error.h"
#include "core/op_event.h"
#include "core/op_scope.h"
#include "kernels/reduce.h"

namespace segrt::autograd {
namespace {
using kernels::Binary;
using kernels::Unary;

// The gradient of the operand that may be broadcast, from what it would be if it were not: summed over the dimensions
// in which it was repeated.
struct BroadcastGradient {
  Shape shape;
  bool wanted;
  Tensor weight;  // the operand where its gradient is a sum by samples

  explicit BroadcastGradient(const Var& b)
      : shape(b.shape()), wanted(b.needs_grad()), weight(sums_by_sample(b) ? b.value() : Tensor()) {}
  Tensor operator()(const Tensor& dy) const {
    if (dy.shape() == shape) return dy;
    if (weight.defined() && (shape.rank() < dy.rank() || shape[0] == 1))
      return sum_over_samples<1>({weight}, dy.dim(0), true, [&](int64_t first, int64_t count, auto& parts) {
        kernels::sum_to(dy.slice(first, count), parts[0]);
      })[0];
    Tensor sum = Tensor::empty(shape, dy.dtype(), dy.device());
    kernels::sum_to(dy, sum);
    return sum;
  }
};

Tensor binary_value(Binary op, const Tensor& a, const Tensor& b) {
  Tensor y = Tensor::like(a);
  kernels::binary_forward(op, a, b, y);
  if (const auto& see = y.device().op_observer) see({"binary", {a, b}, y, {{"kind", {static_cast<double>(op)}}}});
  return y;
}
}  // namespace

Var unary(Unary op, const Var& x, kernels::UnaryParams params) {
  const FunctionScope scope("unary", x.device());
  Tensor y = Tensor::like(x.value());
  kernels::unary_forward(op, x.value(), y, params);
  if (const auto& see = y.device().op_observer)
    see({"unary", {x.value()}, y, {{"kind", {static_cast<double>(op)}}, {"parameters", {params.alpha, params.beta}}}});
  // relu, sigmoid, tanh and exp have derivatives in terms of y, which the next operator keeps anyway; the others need
  // x.
  const bool from_y = op == Unary::relu || op == Unary::sigmoid || op == Unary::tanh || op == Unary::exp;
  return record(
      "unary", {x}, y,
      [op, params, xv = from_y ? Tensor() : x.value(), yv = from_y ? y : Tensor()](const Tensor& dy) -> Grads {
        Tensor dx = reuse_or_like(dy);
        const Tensor& saved = xv.defined() ? xv : yv;
        kernels::unary_backward(op, saved, saved, dy, dx, params);
        return {dx};
      });
}

Var add(const Var& a, const Var& b) {
  const FunctionScope scope("add", a.device());
  return record("add", {a, b}, binary_value(Binary::add, a.value(), b.value()),
                [gradient = BroadcastGradient(b)](const Tensor& dy) -> Grads {
                  return {dy, gradient.wanted ? gradient(dy) : Tensor()};
                });
}

Var sub(const Var& a, const Var& b) {
  const FunctionScope scope("sub", a.device());
  return record("sub", {a, b}, binary_value(Binary::sub, a.value(), b.value()),
                [gradient = BroadcastGradient(b)](const Tensor& dy) -> Grads {
                  Tensor db;
                  if (gradient.wanted) {
                    Tensor negative = Tensor::like(dy);
                    kernels::scale(dy, -1, 0, negative);
                    db = gradient(negative);
                  }
                  return {dy, db};
                });
}

Var mul(const Var& a, const Var& b) {
  const FunctionScope scope("mul", a.device());
  return record("mul", {a, b}, binary_value(Binary::mul, a.value(), b.value()),
                [av = a.value(), bv = b.value(), da_wanted = a.needs_grad(),
                 gradient = BroadcastGradient(b)](const Tensor& dy) -> Grads {
                  Tensor da, db;
                  if (da_wanted) da = binary_value(Binary::mul, dy, bv);
                  if (gradient.wanted) db = gradient(binary_value(Binary::mul, dy, av));
                  return {da, db};
                });
}

Var div(const Var& a, const Var& b) {
  const FunctionScope scope("div", a.device());
  Tensor y = binary_value(Binary::div, a.value(), b.value());
  return record("div", {a, b}, y, [y, bv = b.value(), gradient = BroadcastGradient(b)](const Tensor& dy) -> Grads {
    const Tensor da = binary_value(Binary::div, dy, bv);  // dy / b
    Tensor db;
    if (gradient.wanted) {  // -dy * y / b
      Tensor product = binary_value(Binary::mul, da, y);
      kernels::scale(product, -1, 0, product);
      db = gradient(product);
    }
    return {da, db};
  });
}

Var scale(const Var& x, double alpha, double beta) {
  const FunctionScope scope("scale", x.device());
  Tensor y = Tensor::like(x.value());
  kernels::scale(x.value(), alpha, beta, y);
  if (const auto& see = y.device().op_observer)
    see({"scale", {x.value()}, y, {{"factor", {alpha}}, {"offset", {beta}}}});
  return record(
      "scale", {x}, y,
      [alpha](const Tensor& dy) -> Grads {
        Tensor dx = reuse_or_like(dy);
        kernels::scale(dy, alpha, 0, dx);
        return {dx};
      },
      TakesGradient::of_any_type);
}

Var cast(const Var& x, DType dtype) {
  const FunctionScope scope("cast", x.device());
  if (x.dtype() == dtype) return x;
  Tensor y = Tensor::empty(x.shape(), dtype, x.device());
  kernels::cast(x.value(), y);
  return record("cast", {x}, y, [from = x.dtype()](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::empty(dy.shape(), from, dy.device());
    kernels::cast(dy, dx);
    return {dx};
  });
}

Var compute_copy(const Var& weight, DType dtype) {
  const bool rounds = weight.dtype() == DType::f32 && (dtype == DType::bf16 || dtype == DType::f16);
  return rounds && weight.is_parameter() ? weight.rounded(dtype) : cast(weight, dtype);
}

Var reshape(const Var& x, const Shape& shape) {
  const Tensor y = x.value().reshape(shape);
  if (const auto& see = y.device().op_observer) see({"reshape", {x.value()}, y});
  return record(
      "reshape", {x}, y, [from = x.shape()](const Tensor& dy) -> Grads { return {dy.reshape(from)}; },
      TakesGradient::of_any_type);
}

Var concat_channels(const std::vector<Var>& parts) {
  if (parts.empty()) throw ArgumentError("concat_channels: no inputs");
  const FunctionScope scope("concat_channels", parts[0].device());
  std::vector<int64_t> dims(parts[0].shape().dims().begin(), parts[0].shape().dims().end());
  if (dims.empty()) throw ArgumentError("concat_channels: expected at least one dimension, got a scalar");
  std::vector<Shape> shapes;
  dims.back() = 0;
  for (const Var& part : parts) {
    dims.back() += part.dim(-1);
    shapes.push_back(part.shape());
  }
  Tensor y = Tensor::empty(Shape(std::span<const int64_t>(dims)), parts[0].dtype(), parts[0].device());
  int64_t offset = 0;
  for (const Var& part : parts) {
    kernels::copy_into_channels(part.value(), y, offset);
    offset += part.dim(-1);
  }
  if (const auto& see = y.device().op_observer) {
    OpEvent event{"concat_channels", {}, y};
    for (const Var& part : parts) event.inputs.push_back(part.value());
    see(event);
  }
  return record("concat_channels", parts, y, [shapes](const Tensor& dy) -> Grads {
    Grads grads;
    int64_t begin = 0;
    for (const Shape& shape : shapes) {
      grads.push_back(Tensor::empty(shape, dy.dtype(), dy.device()));
      kernels::copy_from_channels(dy, begin, grads.back());
      begin += shape[-1];
    }
    return grads;
  });
}

Var slice_channels(const Var& x, int64_t first, int64_t count) {
  const FunctionScope scope("slice_channels", x.device());
  const int64_t channels = x.shape().rank() == 0 ? 0 : x.dim(-1);
  if (first < 0 || count < 0 || first + count > channels)
    throw ArgumentError("slice_channels: expected channels within " + to_string(x.shape()) + ", got [" +
                        std::to_string(first) + ", " + std::to_string(first + count) + ")");
  std::vector<int64_t> dims(x.shape().dims().begin(), x.shape().dims().end());
  dims.back() = count;
  Tensor y = Tensor::empty(Shape(std::span<const int64_t>(dims)), x.dtype(), x.device());
  kernels::copy_from_channels(x.value(), first, y);
  if (const auto& see = y.device().op_observer)
    see({"slice_channels", {x.value()}, y, {{"first", {static_cast<double>(first)}}}});
  return record("slice_channels", {x}, y, [first, shape = x.shape()](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::zeros(shape, dy.dtype(), dy.device());
    kernels::copy_into_channels(dy, dx, first);
    return {dx};
  });
}

Var sum(const Var& x) {
  const FunctionScope scope("sum", x.device());
  Tensor y = Tensor::empty({1}, x.dtype(), x.device());
  kernels::sum_to(x.value().reshape({x.value().numel()}), y);
  return record("sum", {x}, y, [shape = x.shape()](const Tensor& dy) -> Grads {
    Tensor zero = Tensor::zeros({shape.numel()}, dy.dtype(), dy.device());
    return {binary_value(Binary::add, zero, dy).reshape(shape)};
  });
}

namespace {
// On a CPU sum and quotient are f64: the order of the sum is of no account then, and one process and several have the
// same.
Var mean_over(const Var& x, Communicator* over) {
  const FunctionScope scope("mean", x.device());
  const Tensor terms = converted(x.value().reshape({x.value().numel()}), x.device().is_cpu() ? DType::f64 : x.dtype());
  const Tensor message = Tensor::empty({2}, terms.dtype(), x.device());  // sum, count
  Tensor total = message.slice(0, 1), count = message.slice(1, 1);
  kernels::sum_to(terms, total);
  kernels::fill(count, static_cast<double>(x.value().numel()));
  if (over != nullptr) over->all_reduce(message);
  kernels::binary_forward(Binary::div, total, count, total);
  const Tensor y = converted(total, x.dtype()), divisor = converted(count, x.dtype());
  return record("mean", {x}, y, [shape = x.shape(), divisor, over](const Tensor& dy) -> Grads {
    Tensor of_all = dy.clone();
    if (over != nullptr) over->all_reduce(of_all);
    kernels::binary_forward(Binary::div, of_all, divisor, of_all);
    Tensor dx = Tensor::zeros({shape.numel()}, dy.dtype(), dy.device());
    kernels::binary_forward(Binary::add, dx, of_all, dx);
    return {dx.reshape(shape)};
  });
}
}  // namespace

Var mean(const Var& x) {
  if (x.value().numel() == 0) throw ArgumentError("mean: x is empty");
  return mean_over(x, nullptr);
}

Var mean(const Var& x, Communicator& over) { return over.size() == 1 ? mean(x) : mean_over(x, &over); }

Var dropout(const Var& x, double p, uint64_t seed, uint64_t layer, const Tensor& step, const SampleShare& share) {
  const FunctionScope scope("dropout", x.device());
  if (p == 0) return x;
  Tensor y = Tensor::like(x.value());
  kernels::dropout(x.value(), p, seed, layer, step, y, share);
  // The step counter may have moved on by the time of the backward pass (gradient accumulation), so its value is kept.
  return record("dropout", {x}, y, [p, seed, layer, share, at = step.clone()](const Tensor& dy) -> Grads {
    Tensor dx = reuse_or_like(dy);
    kernels::dropout(dy, p, seed, layer, at, dx, share);
    return {dx};
  });
}

Var drop_path(const Var& x, double p, uint64_t seed, uint64_t layer, const Tensor& step, const SampleShare& share) {
  const FunctionScope scope("drop_path", x.device());
  if (p == 0) return x;
  std::vector<int64_t> dims(static_cast<size_t>(x.shape().rank()), 1);
  dims.at(0) = x.dim(0);
  Tensor kept = Tensor::empty(Shape(std::span<const int64_t>(dims)), x.dtype(), x.device());  // 0 or 1 / (1 - p)
  kernels::fill(kept, 1);
  kernels::dropout(kept, p, seed, layer, step, kept, share);
  return mul(x, kept);
}

}  // namespace segrt::autograd
