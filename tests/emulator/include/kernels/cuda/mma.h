// The emulator's mma.h: a fragment is a whole tile in the block's memory, one a warp; the last lane to arrive computes
// it in plain float loops. Same names as kernels/cuda/mma.h.
#pragma once

#include "emulator/fragment.h"

namespace segrt::kernels::cuda {

inline constexpr int kMmaM = 16;
inline constexpr int kMmaN = 16;
template <typename T>
inline constexpr int kMmaK = std::is_same_v<T, float> ? 8 : 16;

enum class MmaLayout { row_major, col_major };

namespace detail {
// Inputs as the tensor cores see them: exact but for float.
inline float mma_input(float x) { return round_to_tf32(x); }
inline float mma_input(bf16 x) { return static_cast<float>(x); }
inline float mma_input(f16 x) { return static_cast<float>(x); }

inline void check_tile(const void* p, int ld, size_t element_bytes, const Site& site) {
  if (!is_aligned(p, 32)) emulator::fail_alignment(p, 32, site);
  if (static_cast<size_t>(ld) * element_bytes % 16 != 0)
    emulator::fail("leading dimension " + std::to_string(ld) + " is no multiple of 16 bytes", site);
}

inline uint64_t tile_tag(const Fragment& x, const void* p, int ld) {
  return reinterpret_cast<uintptr_t>(p) * 0x9E3779B97F4A7C15u + static_cast<uint64_t>(ld) * 4096u +
         static_cast<uint64_t>(x.number());
}
}  // namespace detail

template <typename T, MmaLayout L = MmaLayout::row_major>
struct MmaA : detail::Fragment {};
template <typename T, MmaLayout L = MmaLayout::row_major>
struct MmaB : detail::Fragment {};
template <typename T>
struct MmaAccumulator : detail::Fragment {};

namespace detail {
template <typename T, MmaLayout L>
void load_tile(const char* what, const Fragment& x, const T* p, int ld, int rows, int columns, const Site& site) {
  check_tile(p, ld, sizeof(T), site);
  float* tile = emulator::fragment_tile(x.number(), site);
  const auto load = [=](const void* const*) {
    for (int i = 0; i < rows; ++i)
      for (int j = 0; j < columns; ++j) {
        const ptrdiff_t at = L == MmaLayout::row_major ? ptrdiff_t{i} * ld + j : i + ptrdiff_t{j} * ld;
        tile[i * columns + j] = mma_input(p[at]);
      }
  };
  warp_once(what, tile_tag(x, p, ld), nullptr, load, site);
}
}  // namespace detail

template <typename T>
void mma_fill(MmaAccumulator<T>& c, float value, const Site& site = Site::current()) {
  float* tile = emulator::fragment_tile(c.number(), site);
  const auto fill = [=](const void* const*) {
    for (int i = 0; i < kMmaM * kMmaN; ++i) tile[i] = value;
  };
  detail::warp_once("mma_fill", static_cast<uint64_t>(c.number()), nullptr, fill, site);
}
template <typename T, MmaLayout L>
void mma_load(MmaA<T, L>& a, const T* p, int ld, const Site& site = Site::current()) {
  detail::load_tile<T, L>("mma_load", a, p, ld, kMmaM, kMmaK<T>, site);
}
template <typename T, MmaLayout L>
void mma_load(MmaB<T, L>& b, const T* p, int ld, const Site& site = Site::current()) {
  detail::load_tile<T, L>("mma_load", b, p, ld, kMmaK<T>, kMmaN, site);
}
template <typename T>
void mma_load(MmaAccumulator<T>& c, const float* p, int ld, const Site& site = Site::current()) {
  detail::check_tile(p, ld, sizeof(float), site);
  float* tile = emulator::fragment_tile(c.number(), site);
  const auto load = [=](const void* const*) {
    for (int i = 0; i < kMmaM; ++i)
      for (int j = 0; j < kMmaN; ++j) tile[i * kMmaN + j] = p[ptrdiff_t{i} * ld + j];
  };
  detail::warp_once("mma_load", detail::tile_tag(c, p, ld), nullptr, load, site);
}

template <typename T, MmaLayout LA, MmaLayout LB>
void mma_sync(MmaAccumulator<T>& c, const MmaA<T, LA>& a, const MmaB<T, LB>& b, const Site& site = Site::current()) {
  float* tile_c = emulator::fragment_tile(c.number(), site);
  const float* tile_a = emulator::fragment_tile(a.number(), site);
  const float* tile_b = emulator::fragment_tile(b.number(), site);
  const auto multiply = [=](const void* const*) {
    for (int i = 0; i < kMmaM; ++i)
      for (int k = 0; k < kMmaK<T>; ++k) {
        const float a_ik = tile_a[i * kMmaK<T> + k];
        for (int j = 0; j < kMmaN; ++j) tile_c[i * kMmaN + j] += a_ik * tile_b[k * kMmaN + j];
      }
  };
  const auto tag = static_cast<uint64_t>(c.number()) | static_cast<uint64_t>(a.number()) << 20 |
                   static_cast<uint64_t>(b.number()) << 40;
  detail::warp_once("mma_sync", tag, nullptr, multiply, site);
}

template <typename T>
void mma_store(float* p, const MmaAccumulator<T>& c, int ld, const Site& site = Site::current()) {
  detail::check_tile(p, ld, sizeof(float), site);
  const float* tile = emulator::fragment_tile(c.number(), site);
  const auto store = [=](const void* const*) {
    for (int i = 0; i < kMmaM; ++i)
      for (int j = 0; j < kMmaN; ++j) p[ptrdiff_t{i} * ld + j] = tile[i * kMmaN + j];
  };
  detail::warp_once("mma_store", detail::tile_tag(c, p, ld), nullptr, store, site);
}

}  // namespace segrt::kernels::cuda
