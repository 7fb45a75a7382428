// The emulator's source of order: splitmix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number
// generators").
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace segrt::emulator {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  // Uniform in [0, count), but for a bias of count / 2^32.
  uint32_t below(uint32_t count) { return static_cast<uint32_t>(((next() >> 32) * count) >> 32); }

  // 0 .. count-1 in random order.
  void permutation(std::vector<uint32_t>& order, uint32_t count) {
    order.resize(count);
    for (uint32_t i = 0; i < count; ++i) order[i] = i;
    for (uint32_t i = count; i > 1; --i) std::swap(order[i - 1], order[below(i)]);
  }

 private:
  uint64_t state_;
};

}  // namespace segrt::emulator
