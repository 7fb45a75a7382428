#include "kernels/vendor/cublaslt_matmul.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/cuda/linear.h"
#include "kernels/cuda/matmul.h"
#include "kernels/elementwise.h"
#include "kernels/math_mode.h"
#include "kernels/reduce.h"
#include "kernels/vendor/cublaslt/matmul_library.h"
#include "kernels/vendor_mode.h"

namespace segrt::kernels::vendor {
namespace {
using cublaslt::MatmulPlans;
using cublaslt::MatmulProblem;
using Bindings = MatmulPlans::Bindings;
using Trial = MatmulPlans::Trial;

bool takes(std::initializer_list<const Tensor*> tensors) {
  const Tensor& first = **tensors.begin();
  const auto fits = [](const Tensor* t) {
    return t == nullptr ||
           (reinterpret_cast<uintptr_t>(t->raw()) % 16 == 0 && t->numel() <= std::numeric_limits<int32_t>::max());
  };
  return first.device().state<VendorMode>().enabled && first.dtype() != DType::f64 &&
         std::all_of(tensors.begin(), tensors.end(), fits);
}

MatmulProblem problem_of(const Tensor& a, const Tensor& b, const MatmulOptions& options, const Tensor& c) {
  Device& device = a.device();
  MatmulProblem problem;
  problem.dtype = a.dtype();
  problem.tf32 = a.dtype() == DType::f32 && device.state<MathMode>().tf32;
  problem.deterministic = device.deterministic();
  problem.batch = c.rank() == 3 ? c.dim(0) : 1;
  problem.m = c.dim(-2);
  problem.n = b.dim(options.transpose_b ? -2 : -1);
  problem.k = a.dim(options.transpose_a ? -2 : -1);
  problem.transpose_a = options.transpose_a;
  problem.transpose_b = options.transpose_b;
  problem.bias = options.bias != nullptr;
  return problem;
}

Tensor value_of(const Tensor* t) { return t != nullptr ? *t : Tensor(); }
Tensor twin(const Tensor* t) { return t != nullptr ? Tensor::like(*t) : Tensor(); }
}  // namespace

bool cublaslt_matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options, Tensor& c) {
  if (!takes({&a, &b, &c, options.bias})) return false;
  const auto bind = [&](const Tensor& target) -> Bindings { return {a, b, target, value_of(options.bias), {}}; };
  return a.device().state<MatmulPlans>().compute(problem_of(a, b, options, c), bind(c), [&]() -> Trial {
    Tensor target = Tensor::like(c);
    return {bind(target), [&, target]() mutable { cuda::matmul(a, b, options, target); }};
  });
}

// The activation that is not in cuBLASLt's epilogue, or not alone, is a pass of ours over z.
bool cublaslt_linear_forward(const Tensor& x, const Tensor& w, const LinearEpilogue& e, Tensor& y) {
  if (!takes({&x, &w, &y, e.bias, e.pre})) return false;
  MatmulProblem problem = problem_of(x, w, {.transpose_b = true, .bias = e.bias}, y);
  problem.activation = e.activation;
  problem.pre = e.pre != nullptr;
  const bool in_epilogue =
      e.activation == LinearActivation::none || (e.activation == LinearActivation::relu && !problem.pre);
  const auto activate = [&](const Tensor& z, Tensor target) {
    if (e.activation != LinearActivation::none && !in_epilogue)
      unary_forward(e.activation == LinearActivation::relu ? Unary::relu : Unary::gelu, z, target);
    else if (z.raw() != target.raw())
      target.copy_from(z);
  };
  const auto bind = [&](const Tensor& z) -> Bindings { return {x, w, z, value_of(e.bias), {}}; };
  const Tensor& z = problem.pre ? *e.pre : y;
  const bool computed = x.device().state<MatmulPlans>().compute(problem, bind(z), [&]() -> Trial {
    Tensor target = Tensor::like(y), pre = twin(e.pre);
    return {bind(problem.pre ? pre : target),
            [&, target, pre]() mutable {
              cuda::linear_forward(
                  x, w, {.bias = e.bias, .activation = e.activation, .pre = problem.pre ? &pre : nullptr}, target);
            },
            [&activate, target](const Bindings& bound) { activate(bound.c, target); }};
  });
  if (computed) activate(z, y);
  return computed;
}

bool cublaslt_linear_backward_input(const Tensor& dy, const Tensor& w, const Tensor& pre, Tensor& dx) {
  if (!takes({&dy, &w, &pre, &dx})) return false;
  MatmulProblem problem = problem_of(dy, w, {}, dx);
  problem.gelu_backward = true;
  const auto multiply_slope = [&](Tensor target) { unary_backward(Unary::gelu, pre, pre, target, target); };
  const bool computed = dy.device().state<MatmulPlans>().compute(problem, {dy, w, dx, {}, {}}, [&]() -> Trial {
    Tensor target = Tensor::like(dx);
    return {{dy, w, target, {}, {}},
            [&, target]() mutable { cuda::linear_backward_input(dy, w, pre, target); },
            [&multiply_slope](const Bindings& bound) { multiply_slope(bound.c); }};
  });
  if (computed) multiply_slope(dx);
  return computed;
}

bool cublaslt_linear_backward_weight(const Tensor& x, const Tensor& dy, Tensor& dw, Tensor& db) {
  if (!takes({&x, &dy, &dw, &db})) return false;
  const MatmulOptions options{.transpose_a = true};
  MatmulProblem problem = problem_of(dy, x, options, dw);
  problem.bias_gradient = true;
  return x.device().state<MatmulPlans>().compute(problem, {dy, x, dw, {}, db}, [&]() -> Trial {
    Tensor dw_target = Tensor::like(dw), db_target = Tensor::like(db);
    return {{dy, x, dw_target, {}, db_target}, [&, dw_target, db_target]() mutable {
              matmul(dy, x, options, dw_target);  // decided by itself
              sum_to(dy, db_target);
            }};
  });
}

}  // namespace segrt::kernels::vendor
