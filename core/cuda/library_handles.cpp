#include "core/cuda/library_handles.h"

#include <fmt/format.h>

#include <cstring>

#include "core/cuda/cuda_device.h"
#include "core/error.h"

namespace segrt {
namespace {

std::string no_details() { return {}; }

cublasHandle_t create_cublas() {
  cublasHandle_t raw = nullptr;
  check(cublasCreate(&raw), "cublasCreate", no_details);
  return raw;
}

cublasLtHandle_t create_cublas_lt() {
  cublasLtHandle_t raw = nullptr;
  check(cublasLtCreate(&raw), "cublasLtCreate", no_details);
  return raw;
}

}  // namespace

void throw_library_error(const char* library, const char* status, const char* call, const std::string& details,
                         const std::source_location& where) {
  const char* file = std::strrchr(where.file_name(), '/');
  throw DeviceError(fmt::format("{}: {}: {}{}{} ({}:{})", library, call, status, details.empty() ? "" : ": ", details,
                                file ? file + 1 : where.file_name(), where.line()));
}

CublasHandle::CublasHandle(Device& device) : handle_(create_cublas()) {
  check(cublasSetStream(get(), cuda_stream(device)), "cublasSetStream", [&] { return device.description(); });
}

CublasLtHandle::CublasLtHandle() : handle_(create_cublas_lt()) {}

#if SEGRT_HAS_CUDNN
namespace {
cudnnHandle_t create_cudnn() {
  cudnnHandle_t raw = nullptr;
  check(cudnnCreate(&raw), "cudnnCreate", no_details);
  return raw;
}
}  // namespace

CudnnHandle::CudnnHandle(Device& device) : handle_(create_cudnn()) {
  check(cudnnSetStream(get(), cuda_stream(device)), "cudnnSetStream", [&] { return device.description(); });
}
#endif

}  // namespace segrt
