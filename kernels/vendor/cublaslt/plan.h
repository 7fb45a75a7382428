// An algorithm of cuBLASLt's for one product.
#pragma once

#include <cublasLt.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "kernels/vendor/cublaslt/operation.h"

namespace segrt::kernels::vendor::cublaslt {

class Plan {
 public:
  Plan(std::shared_ptr<const Operation> operation, const cublasLtMatmulAlgo_t& algorithm, size_t workspace_bytes)
      : operation_(std::move(operation)), algorithm_(algorithm), workspace_bytes_(workspace_bytes) {}

  const Operation& operation() const { return *operation_; }
  const cublasLtMatmulAlgo_t& algorithm() const { return algorithm_; }
  size_t workspace_bytes() const { return workspace_bytes_; }

 private:
  std::shared_ptr<const Operation> operation_;
  cublasLtMatmulAlgo_t algorithm_;
  size_t workspace_bytes_;
};

// The algorithm's bytes in hexadecimal, by NVIDIA's header good for any run with the same version of the library, and
// the workspace.
std::string text_of(const Plan& plan);
// Nothing where `text` is none of text_of's.
std::optional<Plan> plan_from(const std::string& text, std::shared_ptr<const Operation> operation);
// "algorithm 66, tile 20, stages 36, split 1"
std::string describe(const cublasLtMatmulAlgo_t& algorithm);

// What the heuristics offer, best first by their estimate. Throws VendorError when they fail; having nothing to offer
// is no failure.
void for_each_plan(cublasLtHandle_t handle, const MatmulProblem& problem,
                   const std::function<bool(Candidate<Plan>)>& consider);
// What was chosen in another run; nothing where cuBLASLt does not take it any more.
std::optional<Plan> restored_plan(cublasLtHandle_t handle, const MatmulProblem& problem, const std::string& text);

}  // namespace segrt::kernels::vendor::cublaslt
