// Every CUDA status goes through check: a failure becomes a DeviceError with the call, the status and the line.
#pragma once

#include <cuda_runtime.h>

#include <source_location>
#include <string>

namespace segrt {

[[noreturn]] void throw_cuda_error(cudaError_t status, const char* call, const std::string& details,
                                   const std::source_location& where);

inline void check(cudaError_t status, const char* call,
                  const std::source_location& where = std::source_location::current()) {
  if (status != cudaSuccess) throw_cuda_error(status, call, {}, where);
}

// check(cudaMemcpyAsync(...), "cudaMemcpyAsync", [&] { return describe(x); }): `details` runs only on failure.
template <typename Details>
void check(cudaError_t status, const char* call, const Details& details,
           const std::source_location& where = std::source_location::current()) {
  if (status != cudaSuccess) throw_cuda_error(status, call, details(), where);
}

}  // namespace segrt
