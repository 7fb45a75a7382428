#include "data/resize_crop.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"
#include "data/resample.h"
#include "tests/data/test_files.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using segrt::test::contains;
using segrt::test::error_of;

namespace {

// What Pillow 13.0 makes of the images below: resize((to_width, height), BILINEAR) and then (to_width, to_height), so
// that the horizontal pass comes first whatever it would choose by itself, and NEAREST for the labels.
struct PillowCase {
  int height, width, to_height, to_width;
  std::vector<uint8_t> bilinear, nearest;
};
const PillowCase kPillow[] = {
    {7,
     11,
     4,
     6,
     {81,  101, 118, 154, 131, 93,  148, 141, 114, 140, 126, 155, 116, 125, 148, 171, 88,  110,
      129, 123, 152, 139, 131, 136, 115, 144, 112, 160, 121, 130, 145, 162, 128, 142, 149, 102,
      121, 120, 144, 118, 134, 114, 120, 149, 116, 120, 123, 133, 120, 124, 153, 100, 125, 154,
      155, 172, 127, 161, 126, 100, 117, 146, 119, 139, 112, 112, 160, 110, 96,  124, 86,  115},
     {0, 6, 12, 18, 5, 11, 10, 16, 3, 9, 15, 2, 1, 7, 13, 0, 6, 12, 11, 17, 4, 10, 16, 3}},
    {13,
     5,
     8,
     3,
     {60,  89,  118, 166, 136, 82,  131, 160, 128, 121, 128, 157, 137, 120, 138, 115, 144, 115,
      127, 110, 139, 124, 129, 123, 121, 150, 122, 140, 169, 153, 151, 137, 90,  123, 152, 103,
      106, 135, 119, 140, 117, 146, 127, 139, 168, 120, 103, 132, 148, 126, 151, 170, 147, 114,
      102, 109, 138, 157, 140, 90,  98,  127, 127, 141, 170, 199, 141, 78,  107, 164, 130, 159},
     {0, 6, 12, 10, 16, 3, 1, 7, 13, 6, 12, 18, 16, 3, 9, 2, 8, 14, 12, 18, 5, 3, 9, 15}},
    {5,
     8,
     8,
     13,
     {0,   29,  58,  43,  72,  101, 105, 134, 153, 167, 196, 58,  160, 189, 31,  65,  94,  93,  98,  127, 156, 160, 159,
      188, 222, 64,  93,  195, 57,  86,  100, 119, 148, 152, 181, 210, 195, 224, 253, 16,  45,  74,  61,  90,  119, 124,
      149, 172, 188, 144, 79,  183, 130, 54,  90,  106, 118, 125, 154, 127, 176, 188, 118, 171, 95,  93,  154, 89,  118,
      130, 154, 183, 124, 153, 182, 121, 150, 179, 39,  68,  97,  86,  115, 144, 151, 171, 200, 209, 80,  109, 205, 58,
      87,  124, 126, 155, 155, 184, 93,  186, 215, 31,  105, 134, 98,  107, 130, 159, 174, 188, 217, 93,  115, 144, 30,
      59,  88,  62,  91,  120, 111, 140, 169, 173, 199, 228, 134, 111, 140, 121, 91,  120, 141, 161, 190, 114, 143, 132,
      85,  114, 72,  106, 135, 142, 154, 121, 150, 223, 83,  112, 145, 99,  128, 84,  113, 142, 86,  115, 144, 136, 130,
      159, 198, 150, 179, 112, 114, 143, 96,  125, 132, 168, 197, 155, 112, 141, 130, 56,  85,  105, 128, 157, 127, 173,
      140, 117, 196, 55,  81,  163, 117, 146, 138, 167, 196, 109, 138, 167, 161, 87,  116, 225, 24,  53,  142, 89,  118,
      129, 158, 122, 203, 232, 49,  150, 179, 88,  97,  126, 128, 172, 201, 54,  164, 187, 59,  91,  104, 124, 147, 169,
      198, 192, 221, 250, 132, 161, 190, 124, 106, 135, 114, 36,  65,  123, 113, 142, 123, 152, 151, 112, 141, 71,  117,
      146, 119, 121, 150, 167, 110, 139, 86,  111, 140, 95,  119, 148, 172, 109, 138, 167, 101, 130, 159, 148, 177, 206,
      94,  123, 152, 26,  55,  84,  105, 134, 163, 116, 145, 174, 38,  67,  96,  88,  117, 146, 137, 166, 195, 59,  88,
      117, 70,  99,  128, 149, 178, 207, 81,  110, 139, 27,  56,  85},
     {0,  0,  3,  6,  6,  9,  12, 12, 15, 15, 18, 2,  2,  0,  0,  3,  6,  6,  9,  12, 12, 15, 15, 18, 2,  2,
      5,  5,  8,  11, 11, 14, 17, 17, 1,  1,  4,  7,  7,  10, 10, 13, 16, 16, 0,  3,  3,  6,  6,  9,  12, 12,
      10, 10, 13, 16, 16, 0,  3,  3,  6,  6,  9,  12, 12, 15, 15, 18, 2,  2,  5,  8,  8,  11, 11, 14, 17, 17,
      1,  1,  4,  7,  7,  10, 13, 13, 16, 16, 0,  3,  3,  1,  1,  4,  7,  7,  10, 13, 13, 16, 16, 0,  3,  3}},
    {16,
     9,
     3,
     2,
     {129, 131, 123, 135, 133, 130, 135, 129, 129, 127, 134, 117, 136, 133, 120, 128, 137, 119},
     {16, 9, 8, 1, 14, 7}},
};

// image[y,x,c] = 37y + 101x + 29c + 7xy mod 256, label[y,x] = 5y + 3x mod 19
Sample formula_sample(int height, int width) {
  Sample s{Image(height, width, 3), Image(height, width, 1), "formula"};
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c)
        s.image.row(y)[3 * x + c] = static_cast<uint8_t>((37 * y + 101 * x + 29 * c + 7 * x * y) % 256);
      s.label.row(y)[x] = static_cast<uint8_t>((5 * y + 3 * x) % 19);
    }
  return s;
}

Sample random_sample(int height, int width, uint64_t seed) {
  Sample s{Image(height, width, 3), Image(height, width, 1), "random"};
  Rng rng(seed, 1);
  for (uint8_t& v : s.image.pixels) v = static_cast<uint8_t>(rng.integer(0, 255));
  for (uint8_t& v : s.label.pixels) v = static_cast<uint8_t>(rng.integer(0, 18));
  return s;
}

// Crop-and-pad pixel by pixel, as the recipe words it.
Image crop_and_pad(const Image& x, int height, int width, int y0, int x0, uint8_t pad) {
  Image y(height, width, x.channels);
  std::fill(y.pixels.begin(), y.pixels.end(), pad);
  const int top = std::max(height - x.height, 0) / 2, left = std::max(width - x.width, 0) / 2;
  for (int i = 0; i < std::min(height, x.height); ++i)
    for (int j = 0; j < std::min(width, x.width); ++j)
      for (int c = 0; c < x.channels; ++c)
        y.row(top + i)[(left + j) * x.channels + c] = x.row(y0 + i)[(x0 + j) * x.channels + c];
  return y;
}

}  // namespace

TEST_CASE("resized images and label maps are Pillow's, value by value") {
  for (const PillowCase& p : kPillow) {
    CAPTURE(p.height);
    CAPTURE(p.width);
    const Sample sample = formula_sample(p.height, p.width);
    CHECK(resize(sample.image, p.to_height, p.to_width, Filter::bilinear).pixels == p.bilinear);
    CHECK(resize_nearest(sample.label, p.to_height, p.to_width).pixels == p.nearest);
  }
  // The first three are what a shortest edge of 4, 3 and 8 gives.
  for (const auto& [i, edge] : {std::pair{0, 4}, {1, 3}, {2, 8}}) {
    const PillowCase& p = kPillow[i];
    const ResizeCropTransform transform({.shortest_edge = {edge}});
    const Sample out = transform.apply(formula_sample(p.height, p.width), {.shortest_edge = edge});
    CHECK(out.image.height == p.to_height);
    CHECK(out.image.width == p.to_width);
    CHECK(out.image.pixels == p.bilinear);
    CHECK(out.label.pixels == p.nearest);
    CHECK(out.name == "formula");
  }
}

TEST_CASE("sizes of the shortest edge, worked out by hand") {
  const auto size = [](int h, int w, int edge, int limit) { return shortest_edge_size(h, w, edge, limit); };
  for (const int edge : {512, 768, 1024, 1280, 1536, 2048})
    CHECK(size(1024, 2048, edge, 4096) == ImageSize{edge, 2 * edge});
  CHECK(size(480, 640, 512, 4096) == ImageSize{512, 683});  // 682.67
  CHECK(size(640, 480, 512, 4096) == ImageSize{683, 512});
  CHECK(size(360, 361, 720, 4096) == ImageSize{720, 722});
  CHECK(size(2, 5, 3, 4096) == ImageSize{3, 8});  // 7.5 is rounded up
  CHECK(size(300, 300, 7, 4096) == ImageSize{7, 7});
  CHECK(size(1024, 2048, 1024, 2048) == ImageSize{1024, 2048});  // at the limit, not above it
  CHECK(size(1024, 2048, 1024, 1000) == ImageSize{500, 1000});
  CHECK(size(100, 401, 200, 400) == ImageSize{100, 400});  // 200x802, then 99.75x400
  CHECK(size(401, 100, 200, 400) == ImageSize{400, 100});
  CHECK(size(1, 10000, 512, 64) == ImageSize{1, 64});  // never empty
  CHECK_THROWS_AS(size(0, 5, 3, 9), ArgumentError);
  CHECK_THROWS_AS(size(5, 5, 0, 9), ArgumentError);
}

TEST_CASE("computing only the crop equals every step on the whole image") {
  struct Size {
    int height, width;
  };
  for (const Size size : {Size{40, 80}, {37, 91}, {64, 33}, {5, 7}, {1, 9}})
    for (const Size crop : {Size{0, 0}, {16, 16}, {33, 48}, {70, 13}, {130, 201}})
      for (uint64_t trial = 0; trial < 8; ++trial) {
        const ResizeCropTransform transform({.shortest_edge = {8, 16, 33, 40, 64},
                                             .max_long_edge = 150,
                                             .crop_height = crop.height,
                                             .crop_width = crop.width,
                                             .image_pad = static_cast<uint8_t>(trial),
                                             .label_pad = 255});
        const Sample sample = random_sample(size.height, size.width, trial);
        Rng rng(trial, 7), again(trial, 7);
        const ResizeCropTransform::Draws d = transform.draw(size.height, size.width, rng);
        CAPTURE(size.height);
        CAPTURE(size.width);
        CAPTURE(crop.height);
        CAPTURE(d.shortest_edge);
        CAPTURE(d.flip);
        const ImageSize to = shortest_edge_size(size.height, size.width, d.shortest_edge, 150);
        Image image = resize(sample.image, to.height, to.width, Filter::bilinear);
        Image label = resize_nearest(sample.label, to.height, to.width);
        if (d.flip) {
          image = flip_horizontal(image);
          label = flip_horizontal(label);
        }
        if (crop.height > 0) {
          image = crop_and_pad(image, crop.height, crop.width, d.y, d.x, static_cast<uint8_t>(trial));
          label = crop_and_pad(label, crop.height, crop.width, d.y, d.x, 255);
        }
        const Sample out = transform.apply(sample, d);
        REQUIRE(out.image == image);
        REQUIRE(out.label == label);
        const Sample drawn = transform.apply(Sample(sample), again);
        REQUIRE(drawn.image == image);
        REQUIRE(drawn.label == label);
      }
}

TEST_CASE("what a 512x1024 image shows in a 768x768 crop") {
  const ResizeCropTransform transform({.shortest_edge = {512}, .crop_height = 768, .crop_width = 768});
  Sample sample{Image(1024, 2048, 3), Image(1024, 2048, 1), "flat"};
  std::fill(sample.image.pixels.begin(), sample.image.pixels.end(), uint8_t{90});
  std::fill(sample.label.pixels.begin(), sample.label.pixels.end(), uint8_t{4});
  Rng rng(5, 6);
  const Sample out = transform.apply(sample, rng);
  REQUIRE(out.image.height == 768);
  REQUIRE(out.image.width == 768);
  for (const int x : {0, 400, 767})
    for (const auto& [y, inside] :
         {std::pair{0, false}, {127, false}, {128, true}, {639, true}, {640, false}, {767, false}}) {
      CHECK(out.image.row(y)[3 * x] == (inside ? 90 : 0));
      CHECK(out.label.row(y)[x] == (inside ? 4 : 255));
    }
}

TEST_CASE("draws come in the recipe's order and only where there is something to draw") {
  const std::vector<int> edges{512, 768, 1024, 1280, 1536, 2048};
  const ResizeCropTransform transform({.shortest_edge = edges, .crop_height = 768, .crop_width = 768});
  Rng expected(11, 4), rng(11, 4);
  for (int i = 0; i < 50; ++i) {
    const ResizeCropTransform::Draws d = transform.draw(1024, 2048, rng);
    const int edge = edges[static_cast<size_t>(expected.integer(0, 5))];
    CHECK(d.shortest_edge == edge);
    CHECK(d.flip == (expected.uniform() < 0.5));
    CHECK(d.y == (edge >= 768 ? expected.integer(0, edge - 768) : 0));
    CHECK(d.x == expected.integer(0, 2 * edge - 768));
  }
  CHECK(rng.next_u32() == expected.next_u32());
  const ResizeCropTransform still({.shortest_edge = {8}, .flip = false, .crop_height = 9, .crop_width = 30});
  const ResizeCropTransform::Draws d = still.draw(20, 40, rng);  // 8x16: nothing but the edge
  CHECK(d.shortest_edge == expected.integer(8, 8));
  CHECK(!d.flip);
  CHECK(d.y == 0);
  CHECK(d.x == 0);
  CHECK(rng.next_u32() == expected.next_u32());
}

TEST_CASE("draws are uniform over edges, flips and begins") {
  const ResizeCropTransform transform({.shortest_edge = {8, 10, 12}, .crop_height = 8, .crop_width = 8});
  std::map<int, int> edges, rows, columns;
  int flips = 0;
  for (uint64_t i = 0; i < 6000; ++i) {
    Rng rng(1, i);
    const ResizeCropTransform::Draws d = transform.draw(10, 10, rng);
    ++edges[d.shortest_edge];
    flips += d.flip;
    if (d.shortest_edge != 12) continue;
    ++rows[d.y];
    ++columns[d.x];
  }
  // Standard deviations: 37 for an edge, 39 for the flips, 18 for a begin; the bounds are at more than five.
  CHECK(edges.size() == 3);
  for (const auto& [edge, n] : edges) CHECK(std::abs(n - 2000) < 190);
  CHECK(std::abs(flips - 3000) < 200);
  CHECK(rows.size() == 5);  // 0 to 4, both included
  CHECK(columns.size() == 5);
  for (const auto& counts : {rows, columns})
    for (const auto& [begin, n] : counts) CHECK(std::abs(n - 400) < 110);
}

TEST_CASE("images without a label map, and impossible settings") {
  const ResizeCropTransform transform({.shortest_edge = {8}, .crop_height = 4, .crop_width = 4});
  const Sample out = transform.apply({Image(16, 16, 3), Image(), "test"}, {.shortest_edge = 8, .y = 1, .x = 1});
  CHECK(out.image.height == 4);
  CHECK(out.label.empty());
  CHECK(contains(
      error_of([&] {
        transform.apply(Sample{Image(8, 8, 3), Image(8, 9, 1), "a"}, ResizeCropTransform::Draws{.shortest_edge = 8});
      }),
      "image is 8x8 but its label map 8x9"));
  CHECK_THROWS_AS(transform.apply(Sample{Image(8, 8, 3), Image(), "a"}, {.shortest_edge = 8, .y = 5}), ArgumentError);
  CHECK(contains(error_of([] { ResizeCropTransform({}); }), "shortest_edge lists no size"));
  CHECK(contains(error_of([] {
                   ResizeCropTransform({.shortest_edge = {8, 0}});
                 }),
                 "shortest_edge must be in 1..32767, got 0"));
  CHECK(contains(error_of([] { ResizeCropTransform({.shortest_edge = {8}, .max_long_edge = 0}); }), "max_long_edge"));
  CHECK(contains(error_of([] { ResizeCropTransform({.shortest_edge = {8}, .crop_height = 5}); }), "crop 5x0"));
}
