// Photometric distortion of 8-bit images as OpenCV-based training pipelines do it: brightness, contrast, saturation and
// hue, each step back on 8 bits, truncated.
#pragma once

#include <optional>

#include "core/random.h"
#include "data/image.h"

namespace segrt::data {

// What was drawn for one image; a step without a value is left out. (A saturation of 1 or a hue of 0 is a step: the
// colours go to HSV and back, which rounds.)
struct PhotometricDraws {
  std::optional<double> brightness{};  // added: uniform in [-32, 32)
  std::optional<double> contrast{};    // factor: uniform in [0.5, 1.5)
  bool contrast_first = true;          // right after brightness, or at the end
  std::optional<double> saturation{};  // factor of S: uniform in [0.5, 1.5)
  std::optional<int> hue{};            // added to H, modulo 180: -18..17

  bool any() const { return brightness || contrast || saturation || hue; }
  bool operator==(const PhotometricDraws&) const = default;
};

// Each step with probability 0.5. In the order coin of brightness, brightness, contrast_first, [coin of contrast,
// contrast], coin of saturation, saturation, coin of hue, hue, [coin of contrast, contrast]: the former brackets if
// contrast_first, else the latter; nothing is drawn where a coin says no.
PhotometricDraws draw_photometric(Rng& rng);

// The steps above on the rows and columns [0, part) of an RGB image. A factor a or summand b makes of x the value
// truncate(clamp(x * a + b, 0, 255)) in float32. HSV is that of OpenCV on 8 bits:
//   to HSV, in integers: V = max(r, g, b), d = V - min(r, g, b), S = (d * round(255 * 4096 / V) + 2048) >> 12,
//     H = (h * round(180 * 4096 / (6 d)) + 2048) >> 12, plus 180 if negative; h is g - b if V = r, else b - r + 2d if
//     V = g, else r - g + 4d; a quotient by 0 counts as 0;
//   back, in float32: s = S / 255, v = V / 255, 6 H / 180 = k + f;
//     p = v (1 - s), q = v (1 - s f), t = v (1 - s (1 - f)), the last two differences fused;
//     (r, g, b) = (v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v), (v, p, q) for k = 0..5; of each x truncate(255
//     x).
void distort(Image& image, ImageSize part, const PhotometricDraws& draws);

}  // namespace segrt::data
