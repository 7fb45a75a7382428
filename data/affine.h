// Affine maps of 8-bit images with bicubic sampling and a fill colour, bit for bit those of Pillow's
// Image.transform(AFFINE, BICUBIC) and Image.rotate.
#pragma once

#include <array>

#include "data/image.h"

namespace segrt::data {

// Output pixel centre (X, Y) = (x + 0.5, y + 0.5) reads the image at (a X + b Y + c, d X + e Y + f).
struct Affine {
  double a = 1, b = 0, c = 0, d = 0, e = 1, f = 0;
};

// About the image's centre, counter-clockwise; coefficients rounded to 15 decimals.
Affine rotation_about_centre(double angle_degrees, int height, int width);

// An image of the same size. Sampling is by cubic convolution with a = -1 over 4x4 pixels, of which those beyond the
// border repeat the pixel before; the result is truncated and clamped to 8 bits. A position outside of the image, past
// its outermost pixels' edges, gets `fill`.
Image affine_bicubic(const Image& image, const Affine& map, const Rgb& fill);

}  // namespace segrt::data
