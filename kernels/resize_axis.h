// The two-tap tables of one axis of a resize (UpsampleAxis, kernels/upsample_loss.h). They are computed once on the
// host for a rule and a pair of sizes and kept with the device: all implementations read the same indices and weights,
// and a captured training step finds them at the same addresses. Positions are ratios of integers, rounded to double
// once, so that exact ties are ties.
#pragma once

#include "kernels/upsample_loss.h"

namespace segrt::kernels {

// scale: out/in to use in place of the sizes' ratio; 0: the ratio. Throws ArgumentError unless in, out >= 1.
UpsampleAxis bilinear_axis(int in, int out, Coordinates coordinates, double scale, Device& device);
// One tap: weight [out,2] is {1, 0}, index the rounded position.
UpsampleAxis nearest_axis(int in, int out, Coordinates coordinates, NearestRounding rounding, double scale,
                          Device& device);
// See transposed_x8_taps.
UpsampleAxis transposed_x8_axis(int in, Device& device);

}  // namespace segrt::kernels
