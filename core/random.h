// Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
// A value is a pure function of (seed, stream, index), so results do not depend on threads, devices or the order of
// calls.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "core/dtype.h"

namespace segrt {

struct Philox4 {
  uint32_t v[4];
};

// Ten rounds over counter (c0, c1, c2, c3) with key (k0, k1).
SEGRT_HOST_DEVICE inline Philox4 philox4x32(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0,
                                            uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Four words for block `index` of stream `stream` under `seed`.
SEGRT_HOST_DEVICE inline Philox4 philox(uint64_t seed, uint64_t stream, uint64_t index) {
  return philox4x32(static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), static_cast<uint32_t>(stream),
                    static_cast<uint32_t>(stream >> 32), static_cast<uint32_t>(seed),
                    static_cast<uint32_t>(seed >> 32));
}

// Uniform in [0, 1): the top 24 bits, exact in float32.
SEGRT_HOST_DEVICE inline float uniform_from(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

// A sequence of draws for host code, e.g. one sample's augmentation: Rng(seed, stream) with stream = hash of (epoch,
// sample).
class Rng {
 public:
  Rng(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}
  uint32_t next_u32();
  double uniform();                            // [0, 1), 53 bits
  double uniform(double low, double high);     // [low, high)
  int64_t integer(int64_t low, int64_t high);  // [low, high] inclusive, unbiased; throws ArgumentError when low > high
  double normal();                             // mean 0, standard deviation 1 (Box-Muller)

 private:
  uint64_t seed_, stream_, index_ = 0;
  Philox4 block_{};
  int used_ = 4;
};

// Where the samples of a process's batch stand in the batch of all processes: sample n is sample first + n * stride.
// What is drawn for a sample follows from that place, not from the process.
struct SampleShare {
  int64_t first = 0, stride = 1;
  // The number, in the whole batch, of element i of this process's part; `per_sample` elements are a sample.
  SEGRT_HOST_DEVICE int64_t element(int64_t i, int64_t per_sample) const {
    return (first + i / per_sample * stride) * per_sample + i % per_sample;
  }
  bool whole() const { return first == 0 && stride == 1; }
};

// One 64-bit stream id from several counters (epoch, sample, ...): splitmix64 over the list, order-sensitive.
uint64_t stream_of(std::initializer_list<uint64_t> counters);
// The same for kernels, which have no lists: stream_of({a, b}) = mix_stream(mix_stream(kStreamOrigin, a), b).
inline constexpr uint64_t kStreamOrigin = 0x243F6A8885A308D3u;
SEGRT_HOST_DEVICE inline uint64_t mix_stream(uint64_t stream, uint64_t counter) {
  stream += counter + 0x9E3779B97F4A7C15u;
  stream = (stream ^ (stream >> 30)) * 0xBF58476D1CE4E5B9u;
  stream = (stream ^ (stream >> 27)) * 0x94D049BB133111EBu;
  return stream ^ (stream >> 31);
}

}  // namespace segrt
