// data/polygon.h against what Pillow's ImageDraw.polygon(corners, fill=1) paints (13.0; its rule for sharp corners has
// no part in these).
#include "data/polygon.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"

using namespace segrt;
using namespace segrt::data;

namespace {

struct Case {
  const char* name;
  std::vector<PixelPoint> corners;
  std::vector<std::string> picture;
};

const Case kCases[] = {
    {"triangle",
     {{1, 1}, {10, 3}, {4, 6}},
     {"............", ".#..........", "..####......", "..#########.", "...######...", "...####.....", "....#.......",
      "............"}},
    {"concave",
     {{1, 1}, {11, 1}, {11, 7}, {6, 3}, {1, 7}},
     {".............", ".###########.", ".###########.", ".###########.", ".#####.#####.", ".###.....###.",
      ".##.......##.", ".#.........#.", "............."}},
    {"crossing itself",
     {{1, 1}, {10, 7}, {10, 1}, {1, 7}},
     {"............", ".#........#.", ".##......##.", ".####..####.", ".##########.", ".####..####.", ".##......##.",
      ".#........#.", "............"}},
    {"pentagram",
     {{6, 0}, {9, 10}, {0, 3}, {12, 4}, {2, 10}},
     {"......#......", "......#......", ".....###.....", "#....###.....", ".####..######", "...##...###..",
      "....#...##...", "...###.##....", "...######....", "..###...##...", "..#......#..."}},
    {"reaching out on all sides",
     {{-4, 2}, {5, -3}, {14, 3}, {6, 9}},
     {"##########", "##########", "##########", "##########", "##########", "##########", "..########"}},
    {"horizontal and vertical edges",
     {{1, 5}, {1, 3}, {4, 3}, {4, 1}, {8, 1}, {8, 3}, {10, 3}, {10, 5}},
     {"............", "....#####...", "....#####...", ".##########.", ".##########.", ".##########.", "............"}},
    {"one row", {{2, 1}, {6, 1}, {4, 1}}, {".........", "..#####..", "........."}},
};

}  // namespace

TEST_CASE("polygons are filled as Pillow fills them") {
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    Image image(static_cast<int>(c.picture.size()), static_cast<int>(c.picture[0].size()), 1);
    fill_polygon(image, c.corners, 7);
    for (int y = 0; y < image.height; ++y) {
      std::string row;
      for (int x = 0; x < image.width; ++x) row += image.row(y)[x] == 7 ? '#' : image.row(y)[x] == 0 ? '.' : '?';
      CHECK(row == c.picture[static_cast<size_t>(y)]);
    }
  }
}

TEST_CASE("a filled polygon covers what is inside, and nothing away from it") {
  // Even-odd in float64, for pixels more than a pixel away from every edge.
  const std::vector<PixelPoint> corners{{3, 2}, {37, 11}, {8, 17}, {30, 29}, {-5, 24}, {20, -6}};
  Image image(32, 40, 1);
  fill_polygon(image, corners, 1);
  int decided = 0;
  for (int y = 0; y < image.height; ++y)
    for (int x = 0; x < image.width; ++x) {
      bool inside = false, near = false;
      for (size_t i = 0; i < corners.size(); ++i) {
        const double ax = corners[i].x, ay = corners[i].y;
        const double bx = corners[(i + 1) % corners.size()].x, by = corners[(i + 1) % corners.size()].y;
        if ((ay <= y) != (by <= y) && x < ax + (y - ay) / (by - ay) * (bx - ax)) inside = !inside;
        const double t = std::clamp(
            ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) * (bx - ax) + (by - ay) * (by - ay)), 0.0, 1.0);
        near = near || std::hypot(ax + t * (bx - ax) - x, ay + t * (by - ay) - y) <= 1.0;
      }
      if (near) continue;
      ++decided;
      CAPTURE(x);
      CAPTURE(y);
      CHECK(image.row(y)[x] == (inside ? 1 : 0));
    }
  CHECK(decided > 600);
}

TEST_CASE("polygons without an inside, or outside of the image") {
  Image image(5, 9, 1);
  fill_polygon(image, std::vector<PixelPoint>{{4, 2}}, 3);
  CHECK(image.row(2)[4] == 3);
  fill_polygon(image, std::vector<PixelPoint>{{-9, -9}, {-2, -9}, {-5, -1}}, 4);
  fill_polygon(image, std::vector<PixelPoint>{{20, 9}, {30, 20}, {11, 30}}, 4);
  fill_polygon(image, std::vector<PixelPoint>{{-1000000, 1000000}, {-1000000, -1000000}, {-999999, 0}}, 4);
  CHECK(std::count(image.pixels.begin(), image.pixels.end(), 0) == 44);
  fill_polygon(
      image,
      std::vector<PixelPoint>{{-1000000, -1000000}, {1000000, -1000000}, {1000000, 1000000}, {-1000000, 1000000}}, 5);
  CHECK(std::count(image.pixels.begin(), image.pixels.end(), 5) == 45);
  Image colour(4, 4, 3);
  CHECK_THROWS_AS(fill_polygon(colour, std::vector<PixelPoint>{{1, 1}}, 1), ArgumentError);
  CHECK_THROWS_AS(fill_polygon(image, {}, 1), ArgumentError);
}
