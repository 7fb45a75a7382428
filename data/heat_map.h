// Pictures of where in a photo a value is high.
#pragma once

#include <span>

#include "data/image.h"

namespace segrt::data {

// The colour of t in [0, 1]: dark blue, blue, green, yellow, red, linear between them. NaN counts as 0.
Rgb heat_colour(double t);

// photo [h,w,3], values [h,w] -> [h,w,3]: `alpha` of the heat colour over the photo, the least value in blue and the
// largest in red (blue everywhere where all are equal). Throws ArgumentError for other shapes or alpha outside [0, 1].
Image heat_overlay(const Image& photo, std::span<const float> values, double alpha = 0.5);

}  // namespace segrt::data
