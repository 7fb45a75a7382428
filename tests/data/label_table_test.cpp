#include "data/label_table.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "core/error.h"

using namespace segrt;
using namespace segrt::data;

namespace {

Image label_map(int height, int width, std::vector<uint8_t> values) {
  Image label(height, width, 1);
  REQUIRE(values.size() == label.pixels.size());
  label.pixels = std::move(values);
  return label;
}

Rgb pixel(const Image& image, int y, int x) {
  const uint8_t* p = image.row(y) + 3 * x;
  return {p[0], p[1], p[2]};
}

}  // namespace

// The figures that every published Cityscapes evaluation uses, typed from its label definition by train id.
TEST_CASE("cityscapes_labels is the published table") {
  const LabelTable table = cityscapes_labels();
  const std::vector<std::string> names{
      "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
      "sky",  "person",   "rider",    "car",  "truck", "bus",  "train",         "motorcycle",   "bicycle"};
  const std::vector<Rgb> colours{{128, 64, 128},  {244, 35, 232}, {70, 70, 70},  {102, 102, 156}, {190, 153, 153},
                                 {153, 153, 153}, {250, 170, 30}, {220, 220, 0}, {107, 142, 35},  {152, 251, 152},
                                 {70, 130, 180},  {220, 20, 60},  {255, 0, 0},   {0, 0, 142},     {0, 0, 70},
                                 {0, 60, 100},    {0, 80, 100},   {0, 0, 230},   {119, 11, 32}};
  CHECK(table.names == names);
  CHECK(table.colours == colours);
  CHECK(table.ignore_index == 255);
  CHECK(table.size() == 19);
}

TEST_CASE("camvid_labels is SegNet's order in CamVid's colours") {
  const LabelTable table = camvid_labels();
  const std::vector<std::string> names{"Sky",        "Building", "Pole", "Road",       "Pavement", "Tree",
                                       "SignSymbol", "Fence",    "Car",  "Pedestrian", "Bicyclist"};
  const std::vector<Rgb> colours{{128, 128, 128}, {128, 0, 0},   {192, 192, 128}, {128, 64, 128},
                                 {0, 0, 192},     {128, 128, 0}, {192, 128, 128}, {64, 64, 128},
                                 {64, 0, 128},    {64, 64, 0},   {0, 128, 192}};
  CHECK(table.names == names);
  CHECK(table.colours == colours);
}

TEST_CASE("generic_labels has distinct colours for every class count") {
  for (const int classes : {1, 2, 171, 255}) {
    CAPTURE(classes);
    const LabelTable table = generic_labels(classes);
    CHECK(table.size() == classes);
    CHECK(std::set<Rgb>(table.colours.begin(), table.colours.end()).size() == static_cast<size_t>(classes));
    CHECK(std::set<std::string>(table.names.begin(), table.names.end()).size() == static_cast<size_t>(classes));
    for (const Rgb& c : table.colours) CHECK(std::max({c[0], c[1], c[2]}) >= 100);  // black means ignored
  }
  // A palette keeps its colours when classes are added.
  CHECK(generic_labels(7).colours[5] == generic_labels(171).colours[5]);
  for (const int classes : {0, -3, 256})
    CHECK_THROWS_WITH_AS(generic_labels(classes), doctest::Contains("expected 1 to 255 classes"), ArgumentError);
}

TEST_CASE("named_labels knows the published tables by their names") {
  CHECK(named_labels(cityscapes_labels().names) == cityscapes_labels());
  CHECK(named_labels(camvid_labels().names) == camvid_labels());
  const LabelTable own = named_labels({"ground", "weed"});
  CHECK(own.names == std::vector<std::string>{"ground", "weed"});
  CHECK(own.colours == generic_labels(2).colours);
  CHECK_THROWS_AS(named_labels({}), ArgumentError);
}

TEST_CASE("reduce_zero_label: 0 is ignored, classes count from 1, ignored pixels stay so") {
  Image label(1, 5, 1);
  label.pixels = {0, 1, 171, 254, 255};
  CHECK(reduce_zero_label(label).pixels == std::vector<uint8_t>{255, 0, 170, 253, 255});
  CHECK(reduce_zero_label(label, 254).pixels == std::vector<uint8_t>{254, 0, 170, 254, 254});
  CHECK_THROWS_AS(reduce_zero_label(Image(2, 2, 3)), ArgumentError);
}

TEST_CASE("colourise maps classes to colours and everything else to black") {
  const Image picture = colourise(label_map(1, 5, {0, 18, 19, 254, 255}), cityscapes_labels());
  CHECK(picture.channels == 3);
  CHECK(pixel(picture, 0, 0) == Rgb{128, 64, 128});
  CHECK(pixel(picture, 0, 1) == Rgb{119, 11, 32});
  for (int x = 2; x < 5; ++x) CHECK(pixel(picture, 0, x) == Rgb{0, 0, 0});
  CHECK(colourise(Image(0, 0, 1), cityscapes_labels()).empty());
  CHECK_THROWS_WITH_AS(colourise(Image(2, 3, 3), cityscapes_labels()),
                       "colourise: label expects 1 channel(s), got 2x3 with 3", ArgumentError);
}

TEST_CASE("colourise lets the ignore index win over a class of the same number") {
  LabelTable table = generic_labels(3);
  table.ignore_index = 1;
  const Image picture = colourise(label_map(1, 3, {0, 1, 2}), table);
  CHECK(pixel(picture, 0, 0) == table.colours[0]);
  CHECK(pixel(picture, 0, 1) == Rgb{0, 0, 0});
  CHECK(pixel(picture, 0, 2) == table.colours[2]);
}

TEST_CASE("overlay mixes colours, keeps ignored pixels and draws boundaries") {
  const LabelTable table = cityscapes_labels();
  Image image(2, 4, 3);
  std::fill(image.pixels.begin(), image.pixels.end(), uint8_t{100});
  const Image label = label_map(2, 4, {0, 0, 255, 255, 0, 0, 255, 255});
  const Image half = overlay(image, label, table, 0.5);
  CHECK(pixel(half, 0, 0) == Rgb{114, 82, 114});   // (100 + 128) / 2, (100 + 64) / 2
  CHECK(pixel(half, 0, 1) == Rgb{255, 255, 255});  // its right neighbour is of another class
  CHECK(pixel(half, 0, 2) == Rgb{100, 100, 100});
  CHECK(pixel(half, 1, 3) == Rgb{100, 100, 100});
  CHECK(pixel(overlay(image, label, table, 0.0), 1, 0) == Rgb{100, 100, 100});
  CHECK(pixel(overlay(image, label, table, 1.0), 1, 0) == Rgb{128, 64, 128});
  CHECK_THROWS_WITH_AS(overlay(image, Image(4, 2, 1), table), "overlay: label expects 2x4 like the image, got 4x2",
                       ArgumentError);
  CHECK_THROWS_WITH_AS(overlay(Image(2, 4, 1), label, table), doctest::Contains("image expects 3"), ArgumentError);
  CHECK_THROWS_WITH_AS(overlay(image, label, table, 1.5), doctest::Contains("alpha expects [0, 1]"), ArgumentError);
}
