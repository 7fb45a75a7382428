// cuBLASLt's products as kernels/vendor/decisions.h asks for a library.
#pragma once

#include "core/tensor.h"
#include "kernels/vendor/cublaslt/plan.h"
#include "kernels/vendor/decisions.h"

namespace segrt::kernels::vendor::cublaslt {

class MatmulLibrary {
 public:
  using Problem = MatmulProblem;
  using Plan = cublaslt::Plan;
  struct Bindings {
    Tensor a, b, c;        // ours, row-major
    Tensor bias;           // [n] f32, or undefined
    Tensor bias_gradient;  // [m] f32, written; or undefined
  };

  explicit MatmulLibrary(Device& device);  // throws DeviceError without a usable cuBLASLt
  static const char* name() { return "cuBLASLt"; }
  std::string tag() const;
  Candidates<Plan> candidates(const MatmulProblem& problem) const;
  std::optional<Plan> restored(const MatmulProblem& problem, const std::string& text) const {
    return restored_plan(handle_, problem, text);
  }
  // Vectors of 16-bit products are 16-bit to cuBLASLt: the bias is rounded before, the gradient widened after.
  void run(const Plan& plan, const Bindings& bindings) const;

 private:
  Device& device_;
  cublasLtHandle_t handle_;
};

using MatmulPlans = Decisions<MatmulLibrary>;

}  // namespace segrt::kernels::vendor::cublaslt
