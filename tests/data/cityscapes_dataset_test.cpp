#include "data/cityscapes_dataset.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "data/cityscapes.h"
#include "tests/data/cityscapes_tree.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using Labels = Cityscapes::Labels;
using segrt::test::contains;
using segrt::test::error_of;

namespace {

constexpr const char* kIds = "labelIds.png";
constexpr const char* kTrainIds = "labelTrainIds.png";

struct Tree : test::CityscapesTree {
  std::string refusal(const std::string& split = "train", Labels labels = Labels::automatic) const {
    return error_of([&] { Cityscapes({.root = root(), .split = split, .labels = labels}); });
  }
};

}  // namespace

TEST_CASE_FIXTURE(Tree, "cityscapes: samples come by city, then name, with train ids however they are stored") {
  // "ulm-west" would come before "ulm" if whole paths were compared: '-' is less than '/'.
  const Image c = add_image("train", "ulm-west/w_1_2"), b = add_image("train", "ulm/u_1_10");
  const Image a = add_image("train", "ulm/u_1_1", 4, 8);
  add_image("val", "bonn/b_1_1");
  const Image ids = add_label("train", "ulm/u_1_1", kIds, 0, 34, 4, 8);
  add_label("train", "ulm/u_1_10", kIds, 7, 9);  // not read: there are train ids
  const Image train_ids = add_label("train", "ulm/u_1_10", kTrainIds, 3, 19);
  add_label("train", "ulm-west/w_1_2", kTrainIds, 255, 256);
  std::filesystem::create_directories(root() / "leftImg8bit/train/.hidden");
  write_png(root() / "leftImg8bit/train/ulm/._u_1_1_leftImg8bit.png", a);
  write_png(root() / "leftImg8bit/train/ulm/readme.png", a);
  write_png(root() / "leftImg8bit/train/stray_leftImg8bit.png", a);

  const Cityscapes dataset({.root = root(), .split = "train"});
  REQUIRE(dataset.size() == 3);
  CHECK(dataset.name() == "cityscapes/train");
  CHECK(dataset.classes() == cityscapes_labels());
  CHECK(dataset.has_labels());
  const Sample first = dataset.load(0), second = dataset.load(1), third = dataset.load(2);
  CHECK(first.name == "leftImg8bit/train/ulm/u_1_1_leftImg8bit.png");
  CHECK(first.image == a);
  REQUIRE(first.label.pixels.size() == 32);
  const LabelMap map = cityscapes_train_ids();
  for (size_t i = 0; i < 32; ++i) CHECK(first.label.pixels[i] == map[ids.pixels[i]]);
  CHECK(second.image == b);
  CHECK(second.label == train_ids);
  CHECK(third.name == "leftImg8bit/train/ulm-west/w_1_2_leftImg8bit.png");
  CHECK(third.image == c);
  CHECK_THROWS_AS(dataset.load(3), ArgumentError);
  CHECK_THROWS_AS(dataset.load(-1), ArgumentError);
}

TEST_CASE_FIXTURE(Tree, "cityscapes: the key picks the label maps") {
  add_image("val", "bonn/b_1_1");
  add_label("val", "bonn/b_1_1", kIds, 7, 8);       // road, 0
  add_label("val", "bonn/b_1_1", kTrainIds, 4, 5);  // another class, to tell them apart
  auto label = [&](Labels labels) {
    return Cityscapes({.root = root(), .split = "val", .labels = labels}).load(0).label.pixels[0];
  };
  CHECK(label(Labels::automatic) == 4);
  CHECK(label(Labels::train_ids) == 4);
  CHECK(label(Labels::label_ids) == 0);
}

TEST_CASE_FIXTURE(Tree, "cityscapes: trainval is both splits, by city, then name") {
  add_image("train", "ulm/u_1");
  add_label("train", "ulm/u_1", kTrainIds, 3, 4);
  const Image b = add_image("val", "bonn/b_1");
  add_label("val", "bonn/b_1", kIds, 7, 8);
  const Cityscapes dataset({.root = root(), .split = "trainval"});
  REQUIRE(dataset.size() == 2);
  CHECK(dataset.name() == "cityscapes/trainval");
  CHECK(dataset.load(0).name == "leftImg8bit/val/bonn/b_1_leftImg8bit.png");
  CHECK(dataset.load(0).image == b);
  CHECK(dataset.load(0).label.pixels[0] == 0);
  CHECK(dataset.load(1).name == "leftImg8bit/train/ulm/u_1_leftImg8bit.png");
  CHECK(dataset.load(1).label.pixels[0] == 3);
  CHECK(dataset.files(1) ==
        std::vector<std::filesystem::path>{image_path("train", "ulm/u_1"), label_path("train", "ulm/u_1", kTrainIds)});
}

TEST_CASE_FIXTURE(Tree, "cityscapes: what is missing is listed where it is asked for") {
  add_image("train", "ulm/u_1");
  add_image("train", "ulm/u_2");
  add_label("train", "ulm/u_1", kTrainIds, 3, 4);
  add_label("train", "ulm/u_3", kTrainIds, 3, 4);
  std::vector<std::string> problems;
  const Cityscapes dataset({.root = root(), .split = "train", .problems = &problems});
  CHECK(dataset.size() == 1);
  REQUIRE(problems.size() == 2);
  CHECK(contains(problems[0], "ulm/u_3_gtFine_labelTrainIds.png: label map without an image"));
  CHECK(contains(problems[1], "ulm/u_2_leftImg8bit.png: image without a label map"));
}

TEST_CASE_FIXTURE(Tree, "cityscapes: test images have no labels") {
  const Image image = add_image("test", "berlin/b_1_1");
  add_label("test", "berlin/b_1_1", kIds, 0, 1);
  const Cityscapes dataset({.root = root(), .split = "test"});
  CHECK(!dataset.has_labels());
  CHECK(dataset.load(0).image == image);
  CHECK(dataset.load(0).label.empty());
}

TEST_CASE_FIXTURE(Tree, "cityscapes: predictions are files for the test server") {
  add_image("test", "berlin/berlin_000000_000019");
  const Cityscapes dataset({.root = root(), .split = "test"});
  Image prediction(1, 4, 1);
  prediction.pixels = {0, 18, 10, 16};
  const PredictionFile file = dataset.prediction_file(dataset.load(0).name, prediction);
  CHECK(file.path == "berlin_000000_000019_leftImg8bit.png");
  CHECK(file.values.pixels == std::vector<uint8_t>{7, 33, 23, 31});
  CHECK(file.palette == cityscapes_label_colours());
}

TEST_CASE_FIXTURE(Tree, "cityscapes: what is missing is named") {
  CHECK(error_of([] { Cityscapes({.root = "/nowhere/city"}); }) == "/nowhere/city: no such folder");
  const std::string images = (root() / "leftImg8bit/train").string(), labels = (root() / "gtFine/train").string();
  CHECK(refusal() == images + ": no such folder");
  std::filesystem::create_directories(images + "/aachen");
  CHECK(refusal() == images + ": holds no images (<city>/*_leftImg8bit.png)");
  add_image("train", "aachen/a_1_1");
  add_image("train", "aachen/a_1_2");
  CHECK(refusal() == labels + ": no such folder");
  std::filesystem::create_directories(labels);
  CHECK(
      contains(refusal(), labels + ": holds no label maps (<city>/*_gtFine_labelTrainIds.png); `segdata cityscapes`"));
  CHECK(contains(refusal("train", Labels::label_ids), labels + ": holds no label maps (<city>/*_gtFine_labelIds.png)"));
  CHECK(contains(refusal("val"), "leftImg8bit/val: no such folder"));

  add_label("train", "aachen/a_1_1", kIds, 0, 34);
  CHECK(refusal() == images + "/aachen/a_1_2_leftImg8bit.png: image without a label map: there is no " + labels +
                         "/aachen/a_1_2_gtFine_labelTrainIds.png or *_gtFine_labelIds.png");
  CHECK(refusal("train", Labels::label_ids) ==
        images + "/aachen/a_1_2_leftImg8bit.png: image without a label map: there is no " + labels +
            "/aachen/a_1_2_gtFine_labelIds.png");
  CHECK(contains(refusal("train", Labels::train_ids), "holds no label maps"));
  add_label("train", "aachen/a_1_2", kTrainIds, 0, 19);  // one of each kind will do
  CHECK(refusal().empty());
  CHECK(contains(refusal("train", Labels::train_ids), "a_1_1_leftImg8bit.png: image without a label map"));

  add_label("train", "aachen/a_1_3", kIds, 0, 34);
  CHECK(refusal() == labels + "/aachen/a_1_3_gtFine_labelIds.png: label map without an image: there is no " + images +
                         "/aachen/a_1_3_leftImg8bit.png");
  CHECK(
      contains(refusal("train", Labels::train_ids), "a_1_1_leftImg8bit.png: image without"));  // ids are not looked at
}

TEST_CASE_FIXTURE(Tree, "cityscapes: files that do not fit are named when they are loaded") {
  for (const char* name : {"a_1", "a_2", "a_3", "a_4", "a_5"}) add_image("train", std::string("aachen/") + name);
  add_label("train", "aachen/a_1", kTrainIds, 0, 19, 6, 9);
  add_label("train", "aachen/a_2", kIds, 33, 35);
  add_label("train", "aachen/a_3", kTrainIds, 18, 20);
  add_label("train", "aachen/a_4", kTrainIds, 0, 19);
  std::ofstream(image_path("train", "aachen/a_4"), std::ios::trunc) << "no picture";
  add_label("train", "aachen/a_5", kTrainIds, 0, 19);
  write_png(label_path("train", "aachen/a_5", kTrainIds), Image(6, 10, 3));
  const Cityscapes dataset({.root = root(), .split = "train"});
  auto refusal_of = [&](int64_t i) { return error_of([&] { dataset.load(i); }); };
  CHECK(refusal_of(0) == label_path("train", "aachen/a_1", kTrainIds).string() + ": label map is 9x6, but " +
                             image_path("train", "aachen/a_1").string() + " is 10x6 (width x height)");
  CHECK(refusal_of(1) == label_path("train", "aachen/a_2", kIds).string() +
                             ": value 34 at row 0, column 1 is no Cityscapes label id (0..33)");
  CHECK(contains(refusal_of(2), label_path("train", "aachen/a_3", kTrainIds).string() +
                                    ": label value 19 at row 0, column 1 is neither a class (0..18)"));
  CHECK(contains(refusal_of(3), image_path("train", "aachen/a_4").string() + ": neither a JPEG nor a PNG file"));
  CHECK(contains(refusal_of(4),
                 label_path("train", "aachen/a_5", kTrainIds).string() + ": a label map needs one channel"));
}
