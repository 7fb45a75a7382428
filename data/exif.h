// Which way up a photo is to be shown (Exif 2.3, the tag Orientation).
#pragma once

#include <cstdint>
#include <span>

#include "data/image.h"

namespace segrt::data {

// 1 (as stored) to 8, from the body of a JPEG's APP1 segment. 1 where it says nothing, or nothing that makes sense: a
// photo with a damaged note is still a photo.
int exif_orientation(std::span<const uint8_t> segment);

// The image as it is to be seen. 1: as it is; 2: mirrored; 3: turned by 180 degrees; 4: upside down; 5: transposed;
// 6: turned clockwise; 7: transposed about the other diagonal; 8: turned counter-clockwise.
Image upright(Image image, int orientation);

}  // namespace segrt::data
