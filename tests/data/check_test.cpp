#include "data/check.h"

#include <doctest/doctest.h>

#include "data/cityscapes_dataset.h"
#include "tests/data/cityscapes_tree.h"

using namespace segrt;
using namespace segrt::data;
using segrt::test::contains;

TEST_CASE_FIXTURE(test::CityscapesTree, "a check names every bad file and counts the labels of the good ones") {
  for (const char* frame : {"ulm/u_1", "ulm/u_2", "ulm/u_3", "ulm/u_4", "ulm/u_5"}) {
    add_image("train", frame);
    add_label("train", frame, "labelTrainIds.png", 3, 5);
  }
  const std::string image = test::read_file(image_path("train", "ulm/u_2"));
  std::ofstream(image_path("train", "ulm/u_2"), std::ios::binary) << image.substr(0, image.size() - 20);
  add_label("train", "ulm/u_3", "labelTrainIds.png", 3, 5, 6, 9);
  add_label("train", "ulm/u_4", "labelTrainIds.png", 18, 20);
  const Cityscapes dataset({.root = root()});
  int64_t last = 0;
  const CheckResult result = check_dataset(dataset, [&](int64_t done, int64_t total) {
    CHECK(total == 5);
    last = done;
  });
  CHECK(last == 5);
  CHECK(result.samples == 5);
  REQUIRE(result.problems.size() == 3);
  CHECK(contains(result.problems[0], "u_2_leftImg8bit.png: truncated PNG"));
  CHECK(contains(result.problems[1], "u_3_gtFine_labelTrainIds.png: label map is 9x6, but "));
  CHECK(contains(result.problems[2], "u_4_gtFine_labelTrainIds.png: label value 19 at row 0, column 1"));
  CHECK(result.pixels[3] == 60);  // of the two good ones, 6x10 each
  CHECK(result.pixels[4] == 60);
  CHECK(result.pixels[0] == 0);
  CHECK(result.ignored == 0);
}
