// From run-time tags to template arguments and implementations. Used by fronts (device) and implementations (dtype).
#pragma once

#include <string>

#include "core/error.h"
#include "core/tensor.h"

namespace segrt::kernels {

// Calls f.template operator()<T>() with T the float type of `dtype`: f32, bf16, f16.
template <typename F>
decltype(auto) dispatch_float(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32: return f.template operator()<float>();
    case DType::bf16: return f.template operator()<bf16>();
    case DType::f16: return f.template operator()<f16>();
    default: throw ArgumentError("expected f32, bf16 or f16, got " + std::string(to_string(dtype)));
  }
}

// The same and f64, which the CPU offers for gradient checks.
template <typename F>
decltype(auto) dispatch_real(DType dtype, F&& f) {
  if (dtype == DType::f64) return f.template operator()<double>();
  return dispatch_float(dtype, static_cast<F&&>(f));
}

// Runs cuda() or cpu() by the device of x, nothing on a meta device. Pass lambdas: in a build without CUDA the first is
// never instantiated, so the symbols it names need not exist.
template <typename Cuda, typename Cpu>
void on_device(const Tensor& x, Cuda&& cuda, Cpu&& cpu) {
  switch (x.device().kind()) {
    case DeviceKind::cpu: cpu(); return;
    case DeviceKind::meta: return;
    case DeviceKind::cuda:
#if SEGRT_HAS_CUDA
      cuda();
      return;
#else
      static_cast<void>(cuda);
      throw DeviceError("this build has no CUDA");
#endif
  }
}

}  // namespace segrt::kernels
