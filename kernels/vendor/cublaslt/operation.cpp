#include "kernels/vendor/cublaslt/operation.h"

#include <cstdint>

#include "core/error.h"

namespace segrt::kernels::vendor::cublaslt {
namespace {
constexpr uint32_t kAlignment = 16;  // bytes, of every pointer

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return CUDA_R_32F;
    case DType::bf16: return CUDA_R_16BF;
    case DType::f16: return CUDA_R_16F;
    default: throw ArgumentError("cuBLASLt: a: expected f32, bf16 or f16, got " + std::string(to_string(dtype)));
  }
}

cublasLtEpilogue_t epilogue_of(const MatmulProblem& p) {
  if (p.bias_gradient) return CUBLASLT_EPILOGUE_BGRADB;  // its B is our a
  if (p.activation == LinearActivation::relu && !p.pre)
    return p.bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
  return p.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

template <typename T>
void set(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t name, const T& value, const char* what) {
  require_success(cublasLtMatmulDescSetAttribute(description, name, &value, sizeof(value)), what);
}

template <typename T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t name, const T& value,
         const char* what) {
  require_success(cublasLtMatmulPreferenceSetAttribute(preference, name, &value, sizeof(value)), what);
}

cublasLtMatmulDesc_t new_description(const MatmulProblem& p) {
  cublasLtMatmulDesc_t raw = nullptr;
  const bool tf32 = p.dtype == DType::f32 && p.tf32;
  require_success(cublasLtMatmulDescCreate(&raw, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
                  "cublasLtMatmulDescCreate");
  return raw;
}

// A row-major [rows,columns], which is a column-major [columns,rows].
cublasLtMatrixLayout_t new_layout(DType dtype, int64_t rows, int64_t columns, int64_t batch) {
  cublasLtMatrixLayout_t raw = nullptr;
  require_success(cublasLtMatrixLayoutCreate(&raw, type_of(dtype), static_cast<uint64_t>(columns),
                                             static_cast<uint64_t>(rows), columns),
                  "cublasLtMatrixLayoutCreate");
  const auto count = static_cast<int32_t>(batch);
  const int64_t stride = rows * columns;
  require_success(cublasLtMatrixLayoutSetAttribute(raw, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count)),
                  "MATRIX_LAYOUT_BATCH_COUNT");
  require_success(
      cublasLtMatrixLayoutSetAttribute(raw, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof(stride)),
      "MATRIX_LAYOUT_STRIDED_BATCH_OFFSET");
  return raw;
}
}  // namespace

void require_success(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw VendorError(std::string("cuBLASLt: ") + what + ": " + cublasGetStatusString(status));
}

Operation::Operation(const MatmulProblem& p)
    : description_(new_description(p)),
      a_(new_layout(p.dtype, p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n, p.batch)),
      b_(new_layout(p.dtype, p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k, p.batch)),
      c_(new_layout(p.dtype, p.m, p.n, p.batch)) {
  const auto transposed = [](bool on) { return static_cast<int32_t>(on ? CUBLAS_OP_T : CUBLAS_OP_N); };
  set(description(), CUBLASLT_MATMUL_DESC_TRANSA, transposed(p.transpose_b), "MATMUL_DESC_TRANSA");
  set(description(), CUBLASLT_MATMUL_DESC_TRANSB, transposed(p.transpose_a), "MATMUL_DESC_TRANSB");
  set(description(), CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<uint32_t>(epilogue_of(p)), "MATMUL_DESC_EPILOGUE");
  if (!p.bias && !p.bias_gradient) return;
  set(description(), CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(type_of(p.dtype)),
      "MATMUL_DESC_BIAS_DATA_TYPE");
  set_bias_pointer(reinterpret_cast<const void*>(uintptr_t{kAlignment}));  // heuristics look at its alignment
}

void Operation::set_bias_pointer(const void* pointer) const {
  set(description(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, pointer, "MATMUL_DESC_BIAS_POINTER");
}

Preference::Preference() {
  cublasLtMatmulPreference_t raw = nullptr;
  require_success(cublasLtMatmulPreferenceCreate(&raw), "cublasLtMatmulPreferenceCreate");
  preference_ = Handle<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>(raw);
  set(raw, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes, "MATMUL_PREF_MAX_WORKSPACE_BYTES");
  set(raw, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE),
      "MATMUL_PREF_REDUCTION_SCHEME_MASK");
  for (const auto name : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    set(raw, name, kAlignment, "MATMUL_PREF_MIN_ALIGNMENT_BYTES");
}

}  // namespace segrt::kernels::vendor::cublaslt
