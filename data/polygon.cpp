#include "data/polygon.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/error.h"

namespace segrt::data {
namespace {

struct Edge {
  int top, bottom;  // rows
  float x0, y0, dx;
  float at(int y) const { return (static_cast<float>(y) - y0) * dx + x0; }
};

int halves_up(float x) {
  const auto rounded = static_cast<int>(std::floor(std::abs(x) + 0.5f));
  return x >= 0 ? rounded : -rounded;
}
int halves_down(float x) {
  const auto rounded = static_cast<int>(std::ceil(std::abs(x) - 0.5f));
  return x >= 0 ? rounded : -rounded;
}

void paint(Image& image, int y, int first, int last, uint8_t value) {
  first = std::max(first, 0);
  last = std::min(last, image.width - 1);
  if (y >= 0 && y < image.height && first <= last)
    std::memset(image.row(y) + first, value, static_cast<size_t>(last - first) + 1);
}

}  // namespace

void fill_polygon(Image& image, std::span<const PixelPoint> corners, uint8_t value) {
  if (image.channels != 1)
    throw ArgumentError(fmt::format("fill_polygon: expected a label map of 1 channel, got {}", image.channels));
  if (corners.empty()) throw ArgumentError("fill_polygon: a polygon needs a corner");
  std::vector<Edge> edges;
  int first_row = corners[0].y, last_row = corners[0].y;
  for (size_t i = 0; i < corners.size(); ++i) {
    const PixelPoint a = corners[i], b = corners[(i + 1) % corners.size()];
    first_row = std::min(first_row, a.y);
    last_row = std::max(last_row, a.y);
    if (a.y == b.y)
      paint(image, a.y, std::min(a.x, b.x), std::max(a.x, b.x), value);
    else
      edges.push_back({.top = std::min(a.y, b.y),
                       .bottom = std::max(a.y, b.y),
                       .x0 = static_cast<float>(a.x),
                       .y0 = static_cast<float>(a.y),
                       .dx = static_cast<float>(b.x - a.x) / static_cast<float>(b.y - a.y)});
  }
  std::vector<float> cuts;
  for (int y = std::max(first_row, 0); y <= std::min(last_row, image.height - 1); ++y) {
    cuts.clear();
    for (const Edge& edge : edges) {
      if (y < edge.top || y > edge.bottom) continue;
      cuts.push_back(edge.at(y));
      if (y == edge.bottom && y < last_row) cuts.push_back(cuts.back());
    }
    std::sort(cuts.begin(), cuts.end());
    for (size_t i = 1; i < cuts.size(); i += 2) paint(image, y, halves_up(cuts[i - 1]), halves_down(cuts[i]), value);
  }
}

}  // namespace segrt::data
