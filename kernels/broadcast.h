// Broadcasting between a full tensor and a part whose extents are equal or 1 (rank equal or shorter, aligned at the
// right), reduced to its essence: neighbouring dimensions of the same kind merge, extents of 1 vanish.
#pragma once

#include <array>
#include <cstdint>

#include "core/shape.h"

namespace segrt::kernels {

struct Run {
  int64_t extent;
  bool kept;  // the part has this run's elements; else it has one that stands for all
};
// Runs of the full tensor, outermost first, kinds alternating. None: both have one element.
struct Runs {
  std::array<Run, Shape::kMaxRank> run{};
  int count = 0;
};

bool broadcasts_to(const Shape& part, const Shape& full);
Runs runs_of(const Shape& part, const Shape& full);  // part broadcasts to full, and full is not empty

}  // namespace segrt::kernels
