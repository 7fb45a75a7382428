#include "core/random.h"

#include <cmath>
#include <numbers>
#include <string>

#include "core/error.h"

namespace segrt {

uint32_t Rng::next_u32() {
  if (used_ == 4) {
    block_ = philox(seed_, stream_, index_++);
    used_ = 0;
  }
  return block_.v[used_++];
}

double Rng::uniform() {
  const uint64_t high = next_u32();
  const uint64_t low = next_u32();
  return static_cast<double>(((high << 32) | low) >> 11) * 0x1p-53;
}

double Rng::uniform(double low, double high) {
  const double value = low + (high - low) * uniform();
  return value < high ? value : std::nextafter(high, low);  // the sum can round up to the excluded end
}

int64_t Rng::integer(int64_t low, int64_t high) {
  if (low > high)
    throw ArgumentError("Rng::integer: empty range [" + std::to_string(low) + ", " + std::to_string(high) + "]");
  const uint64_t range = static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1;  // 0 stands for 2^64
  auto next_u64 = [&] {
    const uint64_t upper = next_u32();
    return (upper << 32) | next_u32();
  };
  if (range == 0) return static_cast<int64_t>(next_u64());
  const uint64_t limit = ~uint64_t{0} - (~uint64_t{0} % range + 1) % range;  // largest word of a whole number of ranges
  uint64_t word = next_u64();
  while (word > limit) word = next_u64();
  return static_cast<int64_t>(static_cast<uint64_t>(low) + word % range);
}

double Rng::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));  // 1 - u is in (0, 1]
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

uint64_t stream_of(std::initializer_list<uint64_t> counters) {
  uint64_t stream = kStreamOrigin;
  for (const uint64_t counter : counters) stream = mix_stream(stream, counter);
  return stream;
}

}  // namespace segrt
