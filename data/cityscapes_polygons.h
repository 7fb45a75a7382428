// Label maps drawn from Cityscapes' annotations (*_gtFine_polygons.json):
//   {"imgHeight": 1024, "imgWidth": 2048, "objects": [{"label": "road", "polygon": [[x, y], ...]}, ...]}
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/cityscapes.h"
#include "data/image.h"
#include "data/polygon.h"

namespace segrt::data {

struct CityscapesObject {
  const CityscapesLabel* label;
  std::vector<PixelPoint> corners;
};
struct CityscapesAnnotation {
  int height = 0, width = 0;
  std::vector<CityscapesObject> objects;  // in drawing order
};

// Reads an annotation. Objects with "deleted" set are left out; coordinates lose their fraction (towards 0). Throws
// FileError naming the object where one has no known label (find_cityscapes_label), fewer than two corners or a
// coordinate that is no number within +-1 000 000, and for a file that is missing, no JSON or without a size.
CityscapesAnnotation read_cityscapes_polygons(const std::filesystem::path& path);

// [height,width,1]: 255 everywhere, then each object in its train id (255 for what is not evaluated, "out of roi" and
// "ego vehicle" among them) over those before it, filled as fill_polygon says. Licence plates are not drawn: what they
// are on keeps its label.
Image draw_train_ids(const CityscapesAnnotation& annotation);

}  // namespace segrt::data
