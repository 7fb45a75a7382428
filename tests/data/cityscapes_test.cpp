#include "data/cityscapes.h"

#include <doctest/doctest.h>

#include <numeric>

#include "core/error.h"
#include "data/label_table.h"

using namespace segrt;
using namespace segrt::data;

// Train ids of label ids 0..33, typed from the published label definition.
TEST_CASE("cityscapes: the id maps are the published ones") {
  const std::vector<int> train_ids{255, 255, 255, 255, 255, 255, 255, 0,  1,  255, 255, 2,  3,   4,   255, 255, 255,
                                   5,   255, 6,   7,   8,   9,   10,  11, 12, 13,  14,  15, 255, 255, 16,  17,  18};
  const LabelMap to_train = cityscapes_train_ids(), to_label = cityscapes_label_ids();
  for (size_t id = 0; id < 256; ++id) {
    CAPTURE(id);
    CHECK(to_train[id] == (id < train_ids.size() ? train_ids[id] : 255));
    if (id < 19)
      CHECK(to_train[to_label[id]] == id);
    else
      CHECK(to_label[id] == 0);
  }
}

// Typed from the published label definition.
TEST_CASE("cityscapes: label ids have the published colours") {
  const std::vector<Rgb> colours{{0, 0, 0},       {0, 0, 0},      {0, 0, 0},       {0, 0, 0},       {0, 0, 0},
                                 {111, 74, 0},    {81, 0, 81},    {128, 64, 128},  {244, 35, 232},  {250, 170, 160},
                                 {230, 150, 140}, {70, 70, 70},   {102, 102, 156}, {190, 153, 153}, {180, 165, 180},
                                 {150, 100, 100}, {150, 120, 90}, {153, 153, 153}, {153, 153, 153}, {250, 170, 30},
                                 {220, 220, 0},   {107, 142, 35}, {152, 251, 152}, {70, 130, 180},  {220, 20, 60},
                                 {255, 0, 0},     {0, 0, 142},    {0, 0, 70},      {0, 60, 100},    {0, 0, 90},
                                 {0, 0, 110},     {0, 80, 100},   {0, 0, 230},     {119, 11, 32}};
  CHECK(cityscapes_label_colours() == colours);
}

TEST_CASE("cityscapes: relabel maps every pixel of a label map and nothing else") {
  Image labels(16, 16, 1);
  std::iota(labels.pixels.begin(), labels.pixels.end(), uint8_t{0});
  const Image y = relabel(labels, cityscapes_train_ids());
  CHECK(y.height == 16);
  CHECK(y.pixels[33] == 18);
  CHECK(y.pixels[34] == 255);
  CHECK(relabel(Image(0, 0, 1), cityscapes_train_ids()).empty());
  CHECK_THROWS_WITH_AS(relabel(Image(2, 2, 3), cityscapes_train_ids()),
                       "relabel: expected a label map of 1 channel, got 3", ArgumentError);
}

TEST_CASE("cityscapes: three classes are painted opaque in colours of their own") {
  Image labels(1, 4, 1);
  labels.pixels = {0, 1, 2, 255};
  const Image picture = colourise_rgba(labels, triplet_labels());
  CHECK(picture.channels == 4);
  CHECK(picture.pixels == std::vector<uint8_t>{0, 0, 0, 255, 217, 83, 79, 255, 91, 192, 222, 255, 0, 0, 0, 255});
}
