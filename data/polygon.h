// Filled polygons in label maps, by the rule that Pillow 5 to 8 fills by, with which Cityscapes' scripts draw. (From 9
// on Pillow moves single pixels where two edges that run the same way meet in a sharp corner; see docs/data.md.)
#pragma once

#include <cstdint>
#include <span>

#include "data/image.h"

namespace segrt::data {

// A corner in pixels: (0, 0) is the centre of the first pixel.
struct PixelPoint {
  int x = 0, y = 0;
};

// Paints `value` inside the polygon (even-odd) and on its corners; what leaves the image is cut off. The edges join
// each corner to the next and the last to the first.
//   Row y, between the polygon's first and last row, is cut at x = x0 + (y - y0) * dx (float32, dx = (x1 - x0) / (y1 -
//   y0), (x0, y0) the edge's first corner) by every edge that reaches from its upper to its lower end over y, both ends
//   included. An edge that ends in this row above the polygon's last one counts twice, so that a boundary that passes
//   through a corner changes sides once and a corner that points down is painted.
//   The sorted cuts are taken in pairs (a, b), and the pixels from a rounded (halves up) to b rounded (halves down) are
//   painted; a negative number is rounded like its absolute value. Pixels whose centres are within half a pixel of the
//   inside along the row are thus painted, on the left edge as on the right.
//   A horizontal edge is painted as a whole.
// One corner paints its pixel. Throws ArgumentError when the image has not one channel, or for no corners.
void fill_polygon(Image& image, std::span<const PixelPoint> corners, uint8_t value);

}  // namespace segrt::data
