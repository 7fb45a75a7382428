// Image resizing, bit for bit that of Pillow 4 to 9: separable, antialiased, horizontal pass first. (Pillow 13 filters
// vertically first for some sizes, which moves values by 1: where the width grows and the height shrinks, and for tall
// windows of random resized crops; none is known among those of the other recipes here.)
// Output i of a pass from `in` to `out` values has centre c = (i + 0.5) * in/out and sums the source values j in
// [max(int(c - S*f + 0.5), 0), min(int(c + S*f + 0.5), in)) with weights filter((j - c + 0.5) / f), normalised to sum
// 1; f = max(in/out, 1) and S is the support of the filter.
#pragma once

#include <span>
#include <vector>

#include "data/image.h"

namespace segrt::data {

// bilinear: triangle, S = 1. bicubic: Keys with a = -0.5, S = 2. lanczos: sinc(x) sinc(x/3), S = 3.
enum class Filter { bilinear, bicubic, lanczos };

// A rectangle of pixels: rows [y, y + height), columns [x, x + width).
struct Window {
  int y = 0, x = 0, height = 0, width = 0;
  bool operator==(const Window&) const = default;
};

// One 8-bit resize: weights of 22 fractional bits, each pass rounded and clipped to 0..255. A side that does not change
// is not filtered. Works on parts: a training crop of a large picture needs few of its pixels.
struct Resizing {
  int from_height = 0, from_width = 0, to_height = 0, to_width = 0;
  Filter filter = Filter::bilinear;

  // The part of the source that the part `target` of the result reads.
  Window source(const Window& target) const;
  // The part `target` of the result. `image` holds the part `part` of the source, which contains source(target).
  Image apply(const Image& image, const Window& part, const Window& target) const;
};

// A whole image. Throws ArgumentError when it or the target is empty.
Image resize(const Image& image, int height, int width, Filter filter);

// Source index of each output: int(p), p = 0.5*d for the first and p += d for each next, d = from/to. (The accumulated
// rounding is Pillow's; the closed form (i + 0.5)*d falls on the other side of ties for one size in five.)
std::vector<int> nearest_indices(int from, int to);
Image resize_nearest(const Image& image, int height, int width);

// Float maps x [height,width,channels] -> y [out_height,out_width,channels]: sums in double, each pass rounded to
// float32. Uses all threads. Throws ArgumentError when a span's length does not match.
void resize(std::span<const float> x, int height, int width, int channels, std::span<float> y, int out_height,
            int out_width, Filter filter);

}  // namespace segrt::data
