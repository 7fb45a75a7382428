// What matrix fragments of both kinds (mma.h, tensor_core.h) share: a number in the thread that has them, and
// operations that the whole warp makes.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda::detail {

// Lanes run the same code, so a fragment has the same number in all of them; the scheduler checks that it does.
class Fragment {
 public:
  Fragment() : number_(emulator::begin_fragment(Site::current())) {}
  ~Fragment() { emulator::end_fragment(); }
  Fragment(const Fragment&) = delete;
  Fragment& operator=(const Fragment&) = delete;
  int number() const { return number_; }

 private:
  int number_;
};

// float -> tf32 as cvt.rna: to nearest, ties away from zero, 10 mantissa bits kept.
inline float round_to_tf32(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) return x;
  return std::bit_cast<float>((bits + 0x1000u) & 0xffffe000u);
}

// Runs `action(values by lane)` once for the warp. All lanes bring the same fragments: `tag` is compared.
template <typename Action>
void warp_once(const char* what, uint64_t tag, const void* own, const Action& action, const Site& site) {
  emulator::warp_together(
      what, tag, own,
      [](void* context, const void* const* of_lane) { (*static_cast<const Action*>(context))(of_lane); },
      const_cast<void*>(static_cast<const void*>(&action)), site);
}

}  // namespace segrt::kernels::cuda::detail
