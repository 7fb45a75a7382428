// Image resizing by the 8-bit rules of OpenCV 4, bit for bit. Unlike Pillow's filters (data/resample.h) these look at
// two neighbours a side whatever the ratio, so shrinking aliases; networks trained on such images expect them.
#pragma once

#include <vector>

#include "data/image.h"
#include "data/resample.h"

namespace segrt::data {

// The part `target` of `image` resized bilinearly to `size`, written to the top left of `out`, each row from right to
// left if `mirrored`. Along an axis from `in` to `out` values, output d reads at x = float32((d + 0.5) * (in / out) -
// 0.5): i = floor(x) and i + 1, clamped to the image, with the weights w1 = round(2048 (x - i)), w0 = round(2048 (1 -
// (x
// - i))), halves to even. Columns first, r = w0 p[i] + w1 p[i + 1] in integers; then rows,
//   y = ((((r[i] >> 4) w0) >> 16) + (((r[i + 1] >> 4) w1) >> 16) + 2) >> 2.
// Throws ArgumentError for an empty image or size, a target that is not inside, or an `out` that cannot hold it.
void opencv_resize(const Image& image, ImageSize size, const Window& target, bool mirrored, Image& out);
// A whole image.
Image opencv_resize(const Image& image, ImageSize size);

// Source index of each output of OpenCV's nearest: min(floor(d * s), from - 1), s = 1 / (to / from) in float64. (The
// quotient from / to falls on the other side of an integer for about one pair of sizes in twenty.)
std::vector<int> opencv_nearest_indices(int from, int to);

}  // namespace segrt::data
