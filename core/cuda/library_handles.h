// cuBLAS, cuBLASLt and cuDNN handles of a CUDA device, bound to its compute stream, made on first use:
// device.state<CublasHandle>().get(). Only vendor implementations (kernels/vendor/) include this.
#pragma once

#include <cublasLt.h>
#include <cublas_v2.h>
#if SEGRT_HAS_CUDNN
#include <cudnn.h>
#endif

#include <source_location>
#include <string>

#include "core/cuda/handle.h"
#include "core/device.h"

namespace segrt {

class CublasHandle {
 public:
  explicit CublasHandle(Device& device);
  cublasHandle_t get() const { return handle_.get(); }

 private:
  Handle<cublasHandle_t, cublasDestroy> handle_;
};

class CublasLtHandle {
 public:
  CublasLtHandle();
  cublasLtHandle_t get() const { return handle_.get(); }

 private:
  Handle<cublasLtHandle_t, cublasLtDestroy> handle_;
};

// A failed status becomes a DeviceError with call, status text, line and what `details` returns; it runs only then.
[[noreturn]] void throw_library_error(const char* library, const char* status, const char* call,
                                      const std::string& details, const std::source_location& where);

template <typename Details>
void check(cublasStatus_t status, const char* call, const Details& details,
           const std::source_location& where = std::source_location::current()) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw_library_error("cuBLAS", cublasGetStatusString(status), call, details(), where);
}

#if SEGRT_HAS_CUDNN
class CudnnHandle {
 public:
  explicit CudnnHandle(Device& device);
  cudnnHandle_t get() const { return handle_.get(); }

 private:
  Handle<cudnnHandle_t, cudnnDestroy> handle_;
};

template <typename Details>
void check(cudnnStatus_t status, const char* call, const Details& details,
           const std::source_location& where = std::source_location::current()) {
  if (status != CUDNN_STATUS_SUCCESS) throw_library_error("cuDNN", cudnnGetErrorString(status), call, details(), where);
}
#endif

}  // namespace segrt
