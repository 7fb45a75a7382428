// Owner of a resource with a C-style destroy function. Moves, does not copy, throws nothing: at exit the driver may be
// gone before we are.
#pragma once

#include <utility>

namespace segrt {

template <typename T, auto Destroy>
class Handle {  // using CudaStream = Handle<cudaStream_t, cudaStreamDestroy>;
 public:
  explicit Handle(T raw = T{}) noexcept : raw_(raw) {}
  Handle(Handle&& other) noexcept : raw_(std::exchange(other.raw_, T{})) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }
  ~Handle() {
    if (raw_) static_cast<void>(Destroy(raw_));
  }
  T get() const noexcept { return raw_; }

 private:
  T raw_;
};

}  // namespace segrt
