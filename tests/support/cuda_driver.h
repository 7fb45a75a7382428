// For tests of what cuDNN compiles where there is no GPU.
#pragma once

#include <dlfcn.h>

namespace segrt::test {

// cuDNN offers run-time compiled engines only to a process with the driver's library. Where none is installed, the
// toolkit's stub takes its place: it has the names and answers every call with an error. Returns whether either is
// there.
inline bool load_cuda_driver_or_stub() {
  if (dlopen("libcuda.so.1", RTLD_LAZY | RTLD_GLOBAL) != nullptr) return true;
#ifdef SEGRT_CUDA_STUBS
  return dlopen(SEGRT_CUDA_STUBS "/libcuda.so", RTLD_LAZY | RTLD_GLOBAL) != nullptr;  // its SONAME is libcuda.so.1
#else
  return false;
#endif
}

}  // namespace segrt::test
