// oneDNN's engine and stream of a CPU device, and what its users here share. Included by .cpp files of this folder
// only: dnnl.hpp stays out of every other header.
#pragma once

#include <oneapi/dnnl/dnnl.hpp>
#include <string_view>

#include "core/error.h"
#include "core/tensor.h"

namespace segrt::kernels::vendor {

struct OneDnn {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};

  dnnl::memory memory(const dnnl::memory::desc& desc, const Tensor& t) const { return {desc, engine, t.raw()}; }
};

inline dnnl::memory::data_type onednn_type(DType dtype) {
  switch (dtype) {
    case DType::f32: return dnnl::memory::data_type::f32;
    case DType::bf16: return dnnl::memory::data_type::bf16;
    default: throw ArgumentError("onednn: expected f32 or bf16, got " + std::string(to_string(dtype)));
  }
}

// A user scratchpad, so that a primitive's working memory is the Device's to count and reuse.
inline dnnl::primitive_attr with_user_scratchpad() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

inline Tensor bytes_on(Device& device, size_t nbytes) {
  return Tensor::empty({static_cast<int64_t>(nbytes)}, DType::u8, device);
}

// Runs f, with oneDNN's exception turned into one of ours that names the call.
template <typename F>
decltype(auto) checked(std::string_view call, F&& f) {
  try {
    return f();
  } catch (const dnnl::error& e) {
    throw DeviceError("onednn: " + std::string(call) + ": " + e.what() + " (status " + std::to_string(e.status) + ")");
  }
}

}  // namespace segrt::kernels::vendor
