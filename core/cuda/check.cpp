#include "core/cuda/check.h"

#include <fmt/format.h>

#include <cstring>

#include "core/error.h"

namespace segrt {

void throw_cuda_error(cudaError_t status, const char* call, const std::string& details,
                      const std::source_location& where) {
  const std::string text = cudaGetErrorString(status);
  static_cast<void>(cudaGetLastError());  // it has been reported: the next call starts clean
  const char* file = std::strrchr(where.file_name(), '/');
  throw DeviceError(fmt::format("{}: {}: {}{}{} ({}:{})", call, cudaGetErrorName(status), text,
                                details.empty() ? "" : ": ", details, file ? file + 1 : where.file_name(),
                                where.line()));
}

}  // namespace segrt
