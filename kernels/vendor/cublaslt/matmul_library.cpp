#include "kernels/vendor/cublaslt/matmul_library.h"

#include "core/cuda/library_handles.h"
#include "kernels/elementwise.h"

namespace segrt::kernels::vendor::cublaslt {

MatmulLibrary::MatmulLibrary(Device& device) : device_(device), handle_(device.state<CublasLtHandle>().get()) {}

std::string MatmulLibrary::tag() const { return "cublaslt-" + std::to_string(cublasLtGetVersion()); }

Candidates<Plan> MatmulLibrary::candidates(const MatmulProblem& problem) const {
  return [problem, handle = handle_](const Consider<Plan>& consider) { for_each_plan(handle, problem, consider); };
}

void MatmulLibrary::run(const Plan& plan, const Bindings& bindings) const {
  const auto& [a, b, c, bias, bias_gradient] = bindings;
  Tensor vector = bias.defined() ? bias : bias_gradient;
  if (vector.defined()) {
    if (vector.dtype() != c.dtype()) vector = Tensor::empty(vector.shape(), c.dtype(), device_);
    if (bias.defined() && bias.dtype() != c.dtype()) cast(bias, vector);
    plan.operation().set_bias_pointer(vector.raw());
  }
  Tensor workspace;
  if (plan.workspace_bytes() > 0)
    workspace = Tensor::empty({static_cast<int64_t>(plan.workspace_bytes())}, DType::u8, device_);
  const float one = 1, zero = 0;
  const Operation& o = plan.operation();
  require_success(cublasLtMatmul(handle_, o.description(), &one, b.raw(), o.a(), a.raw(), o.b(), &zero, c.raw(), o.c(),
                                 c.raw(), o.c(), &plan.algorithm(), workspace.defined() ? workspace.raw() : nullptr,
                                 plan.workspace_bytes(), cuda_stream(device_)),
                  "cublasLtMatmul");
  if (bias_gradient.defined() && bias_gradient.dtype() != c.dtype()) {
    Tensor wide = bias_gradient;
    cast(vector, wide);
  }
}

}  // namespace segrt::kernels::vendor::cublaslt
