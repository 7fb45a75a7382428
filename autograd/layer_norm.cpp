#include "autograd/layer_norm.h"

#include <memory>

#include "autograd/sample_sums.h"
#include "core/error.h"
#include "core/op_event.h"
#include "core/op_scope.h"
#include "kernels/elementwise.h"
#include "kernels/layer_norm.h"

namespace segrt::autograd {
namespace {
kernels::RowStatistics statistics_for(const Tensor& x) {
  if (x.rank() < 1 || x.dim(-1) < 1)
    throw ArgumentError("layer_norm: x: expected [...,C] with C >= 1, got " + to_string(x.shape()));
  const Tensor mean =
      Tensor::empty({x.numel() / x.dim(-1)}, x.dtype() == DType::f64 ? DType::f64 : DType::f32, x.device());
  return {mean, Tensor::like(mean)};
}

void report(const Tensor& x, const Var& weight, const Var& bias, double eps, const Tensor& y) {
  if (const auto& see = y.device().op_observer)
    see({"layer_norm", {x, weight.value(), bias.value()}, y, {{"eps", {eps}}}});
}

// Gradients of a norm of x.
struct NormBackward {
  Tensor x, weight;
  kernels::RowStatistics statistics;
  bool affine_wanted, by_sample;

  NormBackward(const Tensor& normalised, const Var& w, const Var& bias)
      : x(normalised),
        weight(w.value()),
        statistics(statistics_for(x)),
        affine_wanted(w.needs_grad() || bias.needs_grad()),
        by_sample(sums_by_sample(w) || sums_by_sample(bias)) {}

  // dweight, dbias
  std::array<Tensor, 2> affine(const Tensor& dy) const {
    if (!affine_wanted) return {};
    const int64_t samples = samples_of(x.shape()), rows = statistics.mean.numel() / std::max<int64_t>(1, samples);
    const auto rows_of = [](const Tensor& t, int64_t row, int64_t count) {
      return t.reshape({t.numel() / t.dim(-1), t.dim(-1)}).slice(row, count);
    };
    return sum_over_samples<2>({weight, weight}, samples, by_sample, [&](int64_t first, int64_t count, auto& parts) {
      const int64_t row = first * rows, n = count * rows;
      kernels::layer_norm_backward_weight(rows_of(dy, row, n), rows_of(x, row, n),
                                          {statistics.mean.slice(row, n), statistics.rstd.slice(row, n)}, parts[0],
                                          parts[1]);
    });
  }
};
}  // namespace

Var layer_norm(const Var& x, const Var& weight, const Var& bias, double eps) {
  const FunctionScope scope("layer_norm", x.device());
  Tensor y = Tensor::like(x.value());
  NormBackward norm(x.value(), weight, bias);
  kernels::layer_norm_forward(x.value(), {weight.value(), bias.value(), eps}, y, norm.statistics);
  report(x.value(), weight, bias, eps, y);
  return record("layer_norm", {x, weight, bias}, y, [norm, dx_wanted = x.needs_grad()](const Tensor& dy) -> Grads {
    const auto [dweight, dbias] = norm.affine(dy);
    Tensor dx;
    if (dx_wanted) {
      dx = reuse_or_like(dy);
      kernels::layer_norm_backward_input(dy, norm.x, norm.weight, norm.statistics, nullptr, dx);
    }
    return {dx, dweight, dbias};
  });
}

SumAndNorm add_layer_norm(const Var& x, const Var& branch, const Var& weight, const Var& bias, double eps) {
  const FunctionScope scope("add_layer_norm", x.device());
  Tensor sum = Tensor::like(x.value()), y = Tensor::like(sum);
  NormBackward norm(sum, weight, bias);
  kernels::add_layer_norm_forward(x.value(), branch.value(), {weight.value(), bias.value(), eps}, sum, y,
                                  norm.statistics);
  if (const auto& see = y.device().op_observer)
    see({"binary", {x.value(), branch.value()}, sum, {{"kind", {static_cast<double>(kernels::Binary::add)}}}});
  report(sum, weight, bias, eps, y);
  // The tape's operators have one output. The norm hangs on the sum: its backward pass, which is always the earlier
  // one, leaves its gradient for that of the sum, which adds its own in the same pass.
  const auto dnorm = std::make_shared<Tensor>();
  SumAndNorm result;
  result.sum = record("add_layer_norm", {x, branch}, sum,
                      [dnorm, statistics = norm.statistics, sum, w = weight.value()](const Tensor& dy) -> Grads {
                        if (!dnorm->defined()) return {dy, dy};
                        Tensor dx = reuse_or_like(*dnorm);
                        kernels::layer_norm_backward_input(*dnorm, sum, w, statistics, &dy, dx);
                        *dnorm = Tensor();
                        return {dx, dx};
                      });
  result.norm = record("layer_norm", {result.sum, weight, bias}, y, [norm, dnorm](const Tensor& dy) -> Grads {
    *dnorm = dy;
    const auto [dweight, dbias] = norm.affine(dy);
    return {Tensor(), dweight, dbias};
  });
  return result;
}

}  // namespace segrt::autograd
