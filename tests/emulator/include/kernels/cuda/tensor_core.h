// The emulator's tensor_core.h: registers by lane as the PTX ISA documents them. A lane that only passes fragments from
// one operation to the next does not wait; one that looks into a fragment waits for the other lanes. Same names as
// kernels/cuda/tensor_core.h.
#pragma once

#include "emulator/fragment.h"

namespace segrt::kernels::cuda {

namespace detail {
template <typename Word, int kCount>
class Registers : public Fragment {
 public:
  Word& operator[](int i) { return word(i); }
  const Word& operator[](int i) const { return word(i); }

 private:
  Word& word(int i) const {
    const Site site = Site::current();
    if (i < 0 || i >= kCount) emulator::fail("no register " + std::to_string(i) + " in this fragment", site);
    emulator::finish_operations(site);
    return static_cast<Word*>(static_cast<void*>(emulator::fragment_tile(number(), site)))[own_lane() * 4 + i];
  }
};
}  // namespace detail

template <typename T>
struct FragmentA : detail::Registers<uint32_t, 4> {};
template <typename T>
struct FragmentB : detail::Registers<uint32_t, 2> {};
struct FragmentC : detail::Registers<float, 4> {};

namespace detail {
inline uint64_t fragments_tag(const Fragment& x, const Fragment& y, const Fragment& z) {
  return static_cast<uint64_t>(x.number()) | static_cast<uint64_t>(y.number()) << 20 |
         static_cast<uint64_t>(z.number()) << 40;
}

// `keep(words by lane)` takes the four words of each lane.
template <bool kTransposed, typename Keep>
void load_matrices(const char* what, uint64_t tag, const void* row, const Keep& keep, const Site& site) {
  if (!is_aligned(row, 16)) emulator::fail_alignment(row, 16, site);
  const auto load = [&](const void* const* rows) {
    emulator::LaneRegisters words[kWarpSize];
    for (int i = 0; i < kWarpSize; ++i) emulator::check_shared(rows[i], 16, site);
    for (int lane = 0; lane < kWarpSize; ++lane)
      for (int matrix = 0; matrix < 4; ++matrix) {
        const int group = lane / 4, place = 2 * (lane % 4);
        const auto element = [&](int r, int column) {
          uint16_t bits;
          std::memcpy(&bits, static_cast<const char*>(rows[8 * matrix + r]) + 2 * column, 2);
          return uint32_t{bits};
        };
        words[lane][matrix] = kTransposed ? element(place, group) | element(place + 1, group) << 16
                                          : element(group, place) | element(group, place + 1) << 16;
      }
    keep(words);
  };
  warp_once(what, tag, row, load, site);
}
template <bool kTransposed, typename T>
void load_fragment(const char* what, FragmentA<T>& a, const T* row, const Site& site) {
  const int number = a.number();
  const auto keep = [number, site](const emulator::LaneRegisters* words) {
    emulator::set_registers(number, 0, 4, words, 0, site);
  };
  load_matrices<kTransposed>(what, fragments_tag(a, a, a), row, keep, site);
}
template <bool kTransposed, typename T>
void load_fragments(const char* what, FragmentB<T>& b0, FragmentB<T>& b1, const T* row, const Site& site) {
  const int n0 = b0.number(), n1 = b1.number();
  const auto keep = [n0, n1, site](const emulator::LaneRegisters* words) {
    emulator::set_registers(n0, 0, 2, words, 0, site);
    emulator::set_registers(n1, 0, 2, words, 2, site);
  };
  load_matrices<kTransposed>(what, fragments_tag(b0, b1, b1), row, keep, site);
}
}  // namespace detail

template <typename T>
void ldmatrix_x4(FragmentA<T>& a, const T* row, const Site& site = Site::current()) {
  detail::load_fragment<false>("ldmatrix_x4", a, row, site);
}
template <typename T>
void ldmatrix_x4(FragmentB<T>& b0, FragmentB<T>& b1, const T* row, const Site& site = Site::current()) {
  detail::load_fragments<false>("ldmatrix_x4", b0, b1, row, site);
}
template <typename T>
void ldmatrix_x4_trans(FragmentA<T>& a, const T* row, const Site& site = Site::current()) {
  static_assert(sizeof(T) == 2, "ldmatrix transposes 16-bit elements");
  detail::load_fragment<true>("ldmatrix_x4_trans", a, row, site);
}
template <typename T>
void ldmatrix_x4_trans(FragmentB<T>& b0, FragmentB<T>& b1, const T* row, const Site& site = Site::current()) {
  static_assert(sizeof(T) == 2, "ldmatrix transposes 16-bit elements");
  detail::load_fragments<true>("ldmatrix_x4_trans", b0, b1, row, site);
}

namespace detail {
inline void multiply(const char* what, const FragmentC& c, const Fragment& a, const Fragment& b, int depth,
                     float (*element)(uint32_t, int), const Site& site) {
  const int nc = c.number(), na = a.number(), nb = b.number();
  const auto action = [=](const void* const*) { emulator::multiply_fragments(nc, na, nb, depth, element, site); };
  warp_once(what, fragments_tag(c, a, b), nullptr, action, site);
}
}  // namespace detail

template <typename T>
void mma_m16n8k16(FragmentC& c, const FragmentA<T>& a, const FragmentB<T>& b, const Site& site = Site::current()) {
  static_assert(sizeof(T) == 2, "bf16 or f16");
  const auto half = [](uint32_t word, int i) {
    return static_cast<float>(std::bit_cast<T>(static_cast<uint16_t>(word >> (16 * i))));
  };
  detail::multiply("mma_m16n8k16", c, a, b, 16, half, site);
}
// The GPU looks at the leading bits alone; that they are rounded is to_tf32's part.
inline void mma_m16n8k8(FragmentC& c, const FragmentA<float>& a, const FragmentB<float>& b,
                        const Site& site = Site::current()) {
  const auto tf32 = [](uint32_t word, int) { return std::bit_cast<float>(word & 0xffffe000u); };
  detail::multiply("mma_m16n8k8", c, a, b, 8, tf32, site);
}
inline uint32_t to_tf32(float x) { return std::bit_cast<uint32_t>(detail::round_to_tf32(x)); }

}  // namespace segrt::kernels::cuda
