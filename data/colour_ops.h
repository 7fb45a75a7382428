// Colour operators on 8-bit images [h,w,3], bit for bit those of Pillow's ImageOps and ImageEnhance (9 and later).
#pragma once

#include "data/image.h"

namespace segrt::data {

// In place. Each channel has its own histogram; a channel of one value stays as it is.
// lo, hi: least and largest value; v -> clamp(int(v * s - lo * s), 0, 255), s = 255 / (hi - lo).
void autocontrast(Image& image);
// h: counts, total n; d = (n - count of the largest value) / 255; v -> min((d / 2 + sum of h below v) / d, 255), all
// in whole numbers; nothing where d is 0.
void equalize(Image& image);
// 255 - v.
void invert(Image& image);
// The upper `bits` (0..8) of v, the others 0.
void posterize(Image& image, int bits);
// v below `threshold`, else 255 - v.
void solarize(Image& image, int threshold);
// min(v + summand, 255) below `threshold`, else v.
void solarize_add(Image& image, int summand, int threshold = 128);

// b + factor * (v - b) in float32, truncated, clamped to 0..255 (a factor in [0, 1] needs no clamp); b depends on the
// operator:
//   brightness  0
//   contrast    the mean of the image's luma, rounded, one number for all pixels
//   colour      the pixel's luma
//   sharpness   the pixel smoothed by (1 1 1; 1 5 1; 1 1 1) / 13; the pixel itself at the image's border
// luma = (19595 r + 38470 g + 7471 b + 32768) / 65536, whole.
void adjust_brightness(Image& image, double factor);
void adjust_contrast(Image& image, double factor);
void adjust_colour(Image& image, double factor);
void adjust_sharpness(Image& image, double factor);

}  // namespace segrt::data
