// K elements that move in one memory transaction.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace segrt::kernels::cuda {

// Alignment that a vector access of `bytes` needs: its size, at most the 16 bytes of one transaction.
constexpr size_t vec_alignment(size_t bytes) { return bytes < 16 ? bytes : 16; }

template <typename T, int K>
struct alignas(vec_alignment(sizeof(T) * K)) Vec {
  static_assert((K & (K - 1)) == 0, "a vector has 1, 2, 4, ... elements");
  T v[K];
  SEGRT_HOST_DEVICE T& operator[](int i) { return v[i]; }
  SEGRT_HOST_DEVICE const T& operator[](int i) const { return v[i]; }
};

// Elements of T in 16 bytes: the widest access.
template <typename T>
inline constexpr int kVec = static_cast<int>(16 / sizeof(T));

SEGRT_HOST_DEVICE inline bool is_aligned(const void* p, size_t bytes = 16) {
  return reinterpret_cast<uintptr_t>(p) % bytes == 0;
}

}  // namespace segrt::kernels::cuda
