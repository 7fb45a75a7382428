#include "data/synthetic_noise.h"

namespace segrt::data::streets {

Noise::Noise(uint64_t seed, uint64_t stream) : lattice_(size_t{1} << (2 * kBits)) {
  for (size_t i = 0; i < lattice_.size(); i += 4) {
    const Philox4 words = philox(seed, stream, i / 4);
    for (size_t k = 0; k < 4; ++k) lattice_[i + k] = uniform_from(words.v[k]);
  }
}

}  // namespace segrt::data::streets
