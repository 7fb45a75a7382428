// Tensor cores by their own instructions (mma.sync and ldmatrix of PTX, compute capability 8.0 and above): unlike the
// fragments of mma.h, which lane holds which element is known, so sums can be stored and operands be laid out without
// bank conflicts. tests/emulator/include/kernels/cuda/tensor_core.h has the same names for the CPU.
//
// With g = lane / 4 and q = lane % 4, a lane holds of one product C[16 x 8] += A[16 x K] B[K x 8] (PTX ISA, "Matrix
// Fragments for mma.m16n8k16" and "mma.m16n8k8"):
//   C   [0] (g, 2q)  [1] (g, 2q + 1)  [2] (g + 8, 2q)  [3] (g + 8, 2q + 1)
//   16-bit, K = 16, a word is two elements along the depth k:
//   A   [0] (g, 2q..)  [1] (g + 8, 2q..)  [2] (g, 2q + 8..)  [3] (g + 8, 2q + 8..)      B   [0] (2q.., g)  [1] (2q
//   + 8.., g) tf32, K = 8, a word is one float: A   [0] (g, q)  [1] (g + 8, q)  [2] (g, q + 4)  [3] (g + 8, q + 4) B
//   [0] (q, g)  [1] (q + 4, g)
#pragma once

#include "kernels/cuda/device.h"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "kernels/cuda/tensor_core.h needs compute capability 8.0 or above: set CMAKE_CUDA_ARCHITECTURES to 80 or more"
#endif

namespace segrt::kernels::cuda {

namespace detail {
// kCount registers of a lane. Contents start undefined.
template <typename Word, int kCount>
class Registers {
 public:
  SEGRT_DEVICE Registers() {}
  Registers(const Registers&) = delete;
  Registers& operator=(const Registers&) = delete;
  SEGRT_DEVICE Word& operator[](int i) { return words_[i]; }
  SEGRT_DEVICE const Word& operator[](int i) const { return words_[i]; }

 private:
  Word words_[kCount];
};
}  // namespace detail

// T: bf16, f16, or float for tf32.
template <typename T>
struct FragmentA : detail::Registers<uint32_t, 4> {};
template <typename T>
struct FragmentB : detail::Registers<uint32_t, 2> {};
struct FragmentC : detail::Registers<float, 4> {};

// All of the following: every lane of the warp makes the same call.

namespace detail {
template <bool kTransposed>
SEGRT_DEVICE void load_matrices(uint32_t& r0, uint32_t& r1, uint32_t& r2, uint32_t& r3, const void* row) {
  const auto at = static_cast<unsigned>(__cvta_generic_to_shared(row));
  if constexpr (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r0), "=r"(r1), "=r"(r2), "=r"(r3)
                 : "r"(at)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r0), "=r"(r1), "=r"(r2), "=r"(r3)
                 : "r"(at)
                 : "memory");
}
}  // namespace detail

// Four 8 x 8 matrices of 16-bit elements from shared memory; lane l passes where row l % 8 of matrix l / 8 starts,
// aligned to 16 bytes. Word m gets elements (g, 2q) and (g, 2q + 1) of matrix m; of its transpose with _trans. A takes
// the four as words 0 to 3, a pair of Bs as their words 0, 1, 0, 1. What other lanes wrote there needs a barrier first.
template <typename T>
SEGRT_DEVICE void ldmatrix_x4(FragmentA<T>& a, const T* row, Site = {}) {
  detail::load_matrices<false>(a[0], a[1], a[2], a[3], row);
}
template <typename T>
SEGRT_DEVICE void ldmatrix_x4(FragmentB<T>& b0, FragmentB<T>& b1, const T* row, Site = {}) {
  detail::load_matrices<false>(b0[0], b0[1], b1[0], b1[1], row);
}
template <typename T>
SEGRT_DEVICE void ldmatrix_x4_trans(FragmentA<T>& a, const T* row, Site = {}) {
  static_assert(sizeof(T) == 2, "ldmatrix transposes 16-bit elements");
  detail::load_matrices<true>(a[0], a[1], a[2], a[3], row);
}
template <typename T>
SEGRT_DEVICE void ldmatrix_x4_trans(FragmentB<T>& b0, FragmentB<T>& b1, const T* row, Site = {}) {
  static_assert(sizeof(T) == 2, "ldmatrix transposes 16-bit elements");
  detail::load_matrices<true>(b0[0], b0[1], b1[0], b1[1], row);
}

// c += a b, 16 deep, T: bf16 or f16.
template <typename T>
SEGRT_DEVICE void mma_m16n8k16(FragmentC& c, const FragmentA<T>& a, const FragmentB<T>& b, Site = {}) {
  if constexpr (std::is_same_v<T, bf16>)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// c += a b, 8 deep. The words of a and b are floats that to_tf32 has rounded.
SEGRT_DEVICE void mma_m16n8k8(FragmentC& c, const FragmentA<float>& a, const FragmentB<float>& b, Site = {}) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// The bits of x rounded to tf32: to nearest, ties away from zero, 10 mantissa bits kept.
SEGRT_DEVICE uint32_t to_tf32(float x) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

}  // namespace segrt::kernels::cuda
