// From painted light to 8-bit pixels: the hood of the ego vehicle, blur, vignette, white balance, noise.
#pragma once

#include <cstdint>

#include "data/image.h"
#include "data/synthetic_raster.h"
#include "data/synthetic_scene.h"

namespace segrt::data::streets {

struct NoiseStream {
  uint64_t seed, stream;
};

// Writes image [h,w,3] and label [h,w,1] from what was painted; hood and border pixels are labelled 255.
void expose(const Sensor& sensor, Painter& painter, const NoiseStream& noise, Image& image, Image& label);

}  // namespace segrt::data::streets
