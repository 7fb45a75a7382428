// Warp-level matrix multiply-accumulate on 16x16 output tiles: tensor cores through nvcuda::wmma. Fragments are opaque:
// which lane holds which element differs between GPUs, so nothing here gives access to single elements.
// tests/emulator/include/kernels/cuda/mma.h has the same names for the CPU.
#pragma once

#include <mma.h>

#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {

inline constexpr int kMmaM = 16;
inline constexpr int kMmaN = 16;
// Depth of one multiply-accumulate: 16 for bf16 and f16; 8 for float, whose inputs are rounded to tf32 (10-bit
// mantissa).
template <typename T>
inline constexpr int kMmaK = std::is_same_v<T, float> ? 8 : 16;

// row_major: element (i, j) at p[i * ld + j]; col_major: at p[i + j * ld].
enum class MmaLayout { row_major, col_major };

namespace detail {
template <typename T>
struct MmaElement;
template <>
struct MmaElement<bf16> {
  using type = __nv_bfloat16;
  using precision = __nv_bfloat16;
};
template <>
struct MmaElement<f16> {
  using type = __half;
  using precision = __half;
};
template <>
struct MmaElement<float> {
  using type = float;
  using precision = nvcuda::wmma::precision::tf32;
};
template <MmaLayout L>
using mma_layout_t = std::conditional_t<L == MmaLayout::row_major, nvcuda::wmma::row_major, nvcuda::wmma::col_major>;

template <typename Use, typename T, MmaLayout L>
struct MmaOperand {
  nvcuda::wmma::fragment<Use, kMmaM, kMmaN, kMmaK<T>, typename MmaElement<T>::precision, mma_layout_t<L>> fragment;

  SEGRT_DEVICE MmaOperand() {}
  MmaOperand(const MmaOperand&) = delete;
  MmaOperand& operator=(const MmaOperand&) = delete;
};
}  // namespace detail

// A: 16 x kMmaK<T>. B: kMmaK<T> x 16. Contents start undefined.
template <typename T, MmaLayout L = MmaLayout::row_major>
struct MmaA : detail::MmaOperand<nvcuda::wmma::matrix_a, T, L> {};
template <typename T, MmaLayout L = MmaLayout::row_major>
struct MmaB : detail::MmaOperand<nvcuda::wmma::matrix_b, T, L> {};

// 16 x 16 float32, for operands of type T.
template <typename T>
struct MmaAccumulator {
  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, kMmaM, kMmaN, kMmaK<T>, float> fragment;

  SEGRT_DEVICE MmaAccumulator() {}
  MmaAccumulator(const MmaAccumulator&) = delete;
  MmaAccumulator& operator=(const MmaAccumulator&) = delete;
};

// All of the following: every lane of the warp makes the same call with the same arguments. Pointers are aligned to 32
// bytes, ld * sizeof(element) is a multiple of 16. What other lanes wrote to the memory needs a sync_warp or sync_block
// first, and so does reading what mma_store wrote.
template <typename T>
SEGRT_DEVICE void mma_fill(MmaAccumulator<T>& c, float value, Site = {}) {
  nvcuda::wmma::fill_fragment(c.fragment, value);
}

template <typename Use, typename T, MmaLayout L>
SEGRT_DEVICE void mma_load(detail::MmaOperand<Use, T, L>& x, const T* p, int ld, Site = {}) {
  using Element = typename detail::MmaElement<T>::type;
  nvcuda::wmma::load_matrix_sync(x.fragment, reinterpret_cast<const Element*>(p), static_cast<unsigned>(ld));
  if constexpr (std::is_same_v<T, float>)
    for (int i = 0; i < x.fragment.num_elements; ++i) x.fragment.x[i] = nvcuda::wmma::__float_to_tf32(x.fragment.x[i]);
}
template <typename T>
SEGRT_DEVICE void mma_load(MmaAccumulator<T>& c, const float* p, int ld, Site = {}) {
  nvcuda::wmma::load_matrix_sync(c.fragment, p, static_cast<unsigned>(ld), nvcuda::wmma::mem_row_major);
}

// c += a b
template <typename T, MmaLayout LA, MmaLayout LB>
SEGRT_DEVICE void mma_sync(MmaAccumulator<T>& c, const MmaA<T, LA>& a, const MmaB<T, LB>& b, Site = {}) {
  nvcuda::wmma::mma_sync(c.fragment, a.fragment, b.fragment, c.fragment);
}

// p[i * ld + j] = c(i, j)
template <typename T>
SEGRT_DEVICE void mma_store(float* p, const MmaAccumulator<T>& c, int ld, Site = {}) {
  nvcuda::wmma::store_matrix_sync(p, c.fragment, static_cast<unsigned>(ld), nvcuda::wmma::mem_row_major);
}

}  // namespace segrt::kernels::cuda
