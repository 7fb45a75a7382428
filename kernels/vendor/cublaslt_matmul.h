// cuBLASLt (NVIDIA) matrix products for tensors on a GPU. Which problems it computes is measured against our own
// kernels (kernels/vendor/decisions.h) and can be switched off (kernels/vendor_mode.h). docs/vendor_libraries.md
#pragma once

#include "kernels/conv.h"
#include "kernels/linear.h"
#include "kernels/matmul.h"

namespace segrt::kernels::vendor {

// Arguments are checked and not empty. False: our own kernel shall compute it, and nothing was written.
#if SEGRT_HAS_CUBLASLT
bool cublaslt_matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options, Tensor& c);
bool cublaslt_linear_forward(const Tensor& x, const Tensor& w, const LinearEpilogue& epilogue, Tensor& y);
bool cublaslt_linear_backward_input(const Tensor& dy, const Tensor& w, const Tensor& pre, Tensor& dx);
bool cublaslt_linear_backward_weight(const Tensor& x, const Tensor& dy, Tensor& dw, Tensor& db);
#else
inline bool cublaslt_matmul(const Tensor&, const Tensor&, const MatmulOptions&, Tensor&) { return false; }
inline bool cublaslt_linear_forward(const Tensor&, const Tensor&, const LinearEpilogue&, Tensor&) { return false; }
inline bool cublaslt_linear_backward_input(const Tensor&, const Tensor&, const Tensor&, Tensor&) { return false; }
inline bool cublaslt_linear_backward_weight(const Tensor&, const Tensor&, Tensor&, Tensor&) { return false; }
#endif

}  // namespace segrt::kernels::vendor
