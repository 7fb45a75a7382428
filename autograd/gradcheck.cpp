#include "autograd/gradcheck.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "autograd/elementwise.h"
#include "core/error.h"
#include "core/random.h"

namespace segrt {
namespace {
double contracted(const Var& y, const Tensor& weights) {
  double total = 0;
  for (int64_t i = 0; i < weights.numel(); ++i) total += y.value().data<double>()[i] * weights.data<double>()[i];
  return total;
}
}  // namespace

GradcheckResult gradcheck(const std::function<Var(const std::vector<Var>&)>& f, const std::vector<Tensor>& inputs,
                          double step) {
  std::vector<Var> leaves;
  for (const Tensor& input : inputs) {
    if (input.dtype() != DType::f64 || !input.device().is_cpu())
      throw ArgumentError("gradcheck: inputs must be f64 on the CPU, got " + describe(input));
    leaves.push_back(Var::parameter(input.clone()));
  }
  const Var y = f(leaves);
  Tensor weights = Tensor::like(y.value());
  Rng rng(7, 11);
  for (int64_t i = 0; i < weights.numel(); ++i) weights.data<double>()[i] = rng.uniform(-1, 1);
  backward(autograd::sum(autograd::mul(y, weights)));

  GradcheckResult result;
  const NoGrad no_grad(y.device());
  for (size_t k = 0; k < leaves.size(); ++k) {
    double* x = leaves[k].value().data<double>();
    for (int64_t i = 0; i < leaves[k].value().numel(); ++i) {
      const double before = x[i];
      x[i] = before + step;
      const double above = contracted(f(leaves), weights);
      x[i] = before - step;
      const double below = contracted(f(leaves), weights);
      x[i] = before;
      const double numeric = (above - below) / (2 * step);
      const double analytic = leaves[k].grad().defined() ? leaves[k].grad().data<double>()[i] : 0;
      const double error = std::abs(analytic - numeric) / std::max(1.0, std::abs(numeric));
      if (!(error <= result.worst)) {  // a NaN counts as worst
        result.worst = std::isnan(error) ? HUGE_VAL : error;
        result.where = fmt::format("input {}, element {}: analytic {}, numeric {}", k, i, analytic, numeric);
      }
    }
  }
  return result;
}

}  // namespace segrt
