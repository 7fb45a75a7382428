// cuBLASLt's description of one product: its operation, layouts and preferences. Made without a GPU or a driver.
//
// cuBLASLt's matrices are column-major. Ours, row-major, are theirs transposed, so it is asked for c^T = op(b)^T
// op(a)^T: its A is our b, its B our a, its D [n,m] our c. A bias runs along D's rows, which are our columns.
#pragma once

#include <cublasLt.h>

#include <cstddef>

#include "core/cuda/handle.h"
#include "kernels/vendor/choice.h"
#include "kernels/vendor/cublaslt/matmul_problem.h"

namespace segrt::kernels::vendor::cublaslt {

// Throws VendorError "cuBLASLt: <what>: <status>" unless status is success.
void require_success(cublasStatus_t status, const char* what);

class Operation {
 public:
  explicit Operation(const MatmulProblem& problem);

  // Pointer to the bias or to its gradient; where no memory is at hand, any address of the same alignment.
  void set_bias_pointer(const void* pointer) const;

  cublasLtMatmulDesc_t description() const { return description_.get(); }
  cublasLtMatrixLayout_t a() const { return a_.get(); }
  cublasLtMatrixLayout_t b() const { return b_.get(); }
  cublasLtMatrixLayout_t c() const { return c_.get(); }

 private:
  using Layout = Handle<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
  Handle<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> description_;
  Layout a_, b_, c_;  // cuBLASLt's
};

// What is allowed of an algorithm: workspace, 16-byte alignment of every pointer, and sums split along k only where the
// parts are added in float32, in a fixed order: not in the output's type, not in place.
class Preference {
 public:
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;
  Preference();
  cublasLtMatmulPreference_t get() const { return preference_.get(); }

 private:
  Handle<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy> preference_;
};

}  // namespace segrt::kernels::vendor::cublaslt
