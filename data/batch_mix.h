// How a batch is mixed with itself in reverse order: Mixup (Zhang et al. 2017) or CutMix (Yun et al. 2019). Here it is
// drawn; kernels/batch_augment.h does it.
#pragma once

#include "core/random.h"
#include "data/resample.h"

namespace segrt::data {

// Beta(a, b) from two gamma variates (Marsaglia & Tsang 2000). a, b > 0.
double draw_beta(double a, double b, Rng& rng);

struct MixOptions {
  double mixup_alpha = 0, cutmix_alpha = 0;  // of Beta(alpha, alpha); 0: never. One of them suffices
  double switch_probability = 0.5;           // of CutMix where there are both
  bool any() const { return mixup_alpha > 0 || cutmix_alpha > 0; }
  bool operator==(const MixOptions&) const = default;
};

struct BatchMix {
  double share = 1;  // of an image's own class in its target
  bool cut = false;  // CutMix: `box` comes from the partner; else the image is blended with it by `share`
  Window box{};
  bool operator==(const BatchMix&) const = default;
};

// That of batch `batch` of epoch `epoch`, from Rng(seed, stream_of({kMixStream, epoch, batch})). Drawn: the coin where
// there are both kinds, the share s, and for CutMix the centre of a box of int(height * sqrt(1 - s)) x
// int(width * sqrt(1 - s)), uniform over the pixels; half of it (rounded down) on each side, clipped to the image, and
// the share is what the box leaves.
inline constexpr uint64_t kMixStream = 0x6d6978;
BatchMix draw_mix(const MixOptions& options, uint64_t seed, int64_t epoch, int64_t batch, int height, int width);

}  // namespace segrt::data
