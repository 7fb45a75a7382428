// data/camvid.h and data/camvid_convert.h.
#include "data/camvid.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <map>

#include "core/error.h"
#include "data/camvid_convert.h"
#include "data/image_folder.h"
#include "data/tables.h"
#include "tests/data/test_files.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using segrt::test::contains;
using segrt::test::error_of;
namespace fs = std::filesystem;

namespace {

// The colours of the classes, in the order that DABNet's conversion gives them; all else is ignored.
const std::vector<Rgb> kClasses = {{128, 128, 128}, {128, 0, 0},   {192, 192, 128}, {128, 64, 128},
                                   {0, 0, 192},     {128, 128, 0}, {192, 128, 128}, {64, 64, 128},
                                   {64, 0, 128},    {64, 64, 0},   {0, 128, 192}};

Image picture_of(const std::vector<Rgb>& colours, int height = 1) {
  Image image(height, static_cast<int>(colours.size()) / height, 3);
  for (size_t i = 0; i < colours.size(); ++i)
    std::copy_n(colours[i].begin(), 3, image.pixels.begin() + static_cast<int>(3 * i));
  return image;
}

struct Tree {
  test::TestFolder folder;
  fs::path add(const std::string& frame, int height = kCamvidHeight, int width = kCamvidWidth) const {
    Image image(height, width, 3), colours(height, width, 3);
    for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * 7 + frame.size());
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x)
        std::copy_n(kClasses[static_cast<size_t>(x + y) % 11].begin(), 3, colours.row(y) + 3 * x);
    write_png(folder / ("raw/701_StillsRaw_full/" + frame + ".png"), image);
    const fs::path label = folder / ("raw/LabeledApproved_full/" + frame + "_L.png");
    write_png(label, colours);
    return label;
  }
  CamvidConversion conversion() const {
    return {.images = folder / "raw/701_StillsRaw_full",
            .labels = folder / "raw/LabeledApproved_full",
            .out = folder / "out"};
  }
};

}  // namespace

TEST_CASE("camvid: eleven colours are the classes, exactly") {
  const Image label = camvid_train_ids("x", picture_of(kClasses), CamvidClasses::exact, true);
  for (size_t k = 0; k < 11; ++k) CHECK(label.pixels[k] == k);
  const Table table = camvid_colours_table();
  CHECK(table.size() == 32);
  int classes = 0;
  for (size_t i = 0; i < table.size(); ++i) {
    const Rgb colour{static_cast<uint8_t>(table.number(i, "r")), static_cast<uint8_t>(table.number(i, "g")),
                     static_cast<uint8_t>(table.number(i, "b"))};
    const int exact = camvid_train_ids("x", picture_of({colour}), CamvidClasses::exact, true).pixels[0];
    classes += exact != 255;
    if (exact != 255) CHECK(camvid_labels().colours[static_cast<size_t>(exact)] == colour);
    // A group holds its class: grouping never makes another class of one of the eleven colours.
    const int grouped = camvid_train_ids("x", picture_of({colour}), CamvidClasses::segnet, true).pixels[0];
    if (exact != 255) CHECK(grouped == exact);
  }
  CHECK(classes == 11);
  // Truck_Bus, LaneMkgsDriv, TrafficLight, Void
  const std::vector<Rgb> others{{192, 128, 192}, {128, 0, 192}, {0, 64, 64}, {0, 0, 0}};
  CHECK(camvid_train_ids("x", picture_of(others), CamvidClasses::exact, true).pixels == std::vector<uint8_t>(4, 255));
  CHECK(camvid_train_ids("x", picture_of(others), CamvidClasses::segnet, true).pixels ==
        std::vector<uint8_t>{8, 3, 6, 255});
}

TEST_CASE("camvid: colours that it does not have are ignored, or named") {
  const Image colours = picture_of({{0, 0, 0}, {128, 0, 0}, {129, 0, 0}, {128, 0, 1}, {128, 0, 0}, {9, 8, 7}}, 2);
  CHECK(camvid_train_ids("x.png", colours, CamvidClasses::exact, false).pixels ==
        std::vector<uint8_t>{255, 1, 255, 255, 1, 255});
  CHECK(error_of([&] { camvid_train_ids("x.png", colours, CamvidClasses::exact, true); }) ==
        "x.png: colour (129, 0, 0) at row 0, column 2 is none of CamVid's 32");
}

TEST_CASE("camvid: frames are in SegNet's splits by their names") {
  std::map<std::string, int> counts;
  auto add = [&](const std::string& sequence, int digits, int first, int last, int step) {
    for (int n = first; n <= last; n += step) ++counts[camvid_split(fmt::format("{}{:0{}}", sequence, n, digits))];
  };
  add("0001TP_", 6, 6690, 10380, 30);  // every 30th frame, the first half for training
  add("0006R0_f", 5, 930, 3930, 30);
  add("0016E5_", 5, 390, 8640, 30);
  add("Seq05VD_f", 5, 0, 5100, 30);
  CHECK(counts["test"] == 62 + 171);
  CHECK(counts["train"] == 62 + 101 + 276);
  counts.clear();
  add("0016E5_", 5, 7959, 8159, 2);  // CamSeq01
  CHECK(counts["val"] == 101);
  for (const char* name : {"", "photo", "0001TP_", "0001TP_12x", "Seq06_1", "aachen_000000_000019"})
    CHECK(camvid_split(name).empty());
  const fs::path lists = test::shared_folder() / "camvid";  // SegNet's own lists of train and val
  for (const std::string split : {"train", "val"}) {
    std::ifstream list(lists / (split + "_labels.txt"));
    int lines = 0;
    for (std::string line; std::getline(list, line); ++lines)
      CHECK(camvid_split(fs::path(line).stem().string()) == split);
    if (fs::exists(lists)) CHECK(lines == (split == "train" ? 367 : 101));
  }
}

TEST_CASE_FIXTURE(Tree, "camvid: frames are converted into the folders that the data set is read from") {
  add("0001TP_006690");
  add("0016E5_07959");
  add("Seq05VD_f00000");
  const std::vector<Conversion> plan = conversion().plan();
  REQUIRE(plan.size() == 3);
  CHECK(plan[0].split == "test");
  CHECK(plan[0].warnings == std::vector<std::string>{"test: 1 frames; CamVid has 233"});
  for (const Conversion& c : plan) {
    const auto result = c.run(false);
    CHECK(result.errors.empty());
    CHECK(result.written == 1);
    CHECK(result.photos_placed == 1);
  }
  const auto dataset = open_camvid({.root = folder / "out", .split = "train"});
  REQUIRE(dataset->size() == 1);
  CHECK(dataset->name() == "camvid/train");
  CHECK(dataset->classes() == camvid_labels());
  const Sample sample = dataset->load(0);
  CHECK(sample.name == "images/train/0001TP_006690.png");
  CHECK(sample.image == read_image(folder / "raw/701_StillsRaw_full/0001TP_006690.png"));
  for (int y : {0, 719})
    for (int x = 0; x < kCamvidWidth; ++x) CHECK(sample.label.row(y)[x] == (x + y) % 11);
  CHECK(dataset->mean() == kImagenetMean);
  CHECK(open_camvid({.root = folder / "out", .split = "trainval"})->size() == 2);
  CHECK(open_camvid({.root = folder / "out", .split = "test"})->size() == 1);

  for (const Conversion& c : conversion().plan()) {
    const auto again = c.run(false);
    CHECK(again.written + again.photos_placed == 0);
    CHECK(again.up_to_date == 1);
    CHECK(again.photos_up_to_date == 1);
  }
  CamvidConversion copies = conversion();
  copies.image_copy = ImageCopy::copy;
  copies.out = folder / "copies";
  CHECK(copies.plan()[1].run(false).photos_placed == 1);
  CHECK(fs::hard_link_count(folder / "copies/images/train/0001TP_006690.png") == 1);
  CHECK(test::read_file(folder / "copies/images/train/0001TP_006690.png") ==
        test::read_file(folder / "raw/701_StillsRaw_full/0001TP_006690.png"));
  for (const auto& file : fs::recursive_directory_iterator(folder.path())) CHECK(file.path().extension() != ".part");
}

TEST_CASE_FIXTURE(Tree, "camvid: what cannot be converted is named, and the rest is done") {
  add("0001TP_006690");
  const fs::path small = add("0001TP_006720", 4, 6);
  add("0001TP_006750");
  fs::remove(folder / "raw/701_StillsRaw_full/0001TP_006750.png");
  const fs::path cut = add("0001TP_006780");
  const std::string bytes = test::read_file(cut);
  folder.write("raw/LabeledApproved_full/0001TP_006780_L.png", bytes.substr(0, bytes.size() / 2));
  const auto result = conversion().plan().at(0).run(false);
  CHECK(result.written == 2);
  CHECK(result.photos_placed == 3);
  REQUIRE(result.errors.size() == 3);
  CHECK(result.errors[0] == small.string() + ": is 6x4, but CamVid is 960x720 (width x height)");
  CHECK(contains(result.errors[1], "0001TP_006780_L.png: truncated PNG"));
  CHECK(contains(result.errors[2], "0001TP_006750.png: no such file"));
  CHECK(!fs::exists(folder / "out/TrainID/train/0001TP_006720_L_TrainID.png"));
  CHECK(!fs::exists(folder / "out/TrainID/train/0001TP_006780_L_TrainID.png"));
  CamvidConversion any = conversion();
  any.any_size = true;
  CHECK(any.plan()[0].run(false).written == 1);

  add("holiday_1", 4, 6);
  CHECK(contains(error_of([&] { conversion().plan(); }), "holiday_1_L.png: no frame of CamVid's by its name"));
  CamvidConversion one = any;
  one.split = "val";
  CHECK(one.plan().size() == 1);
  CHECK(one.plan()[0].warnings.empty());
  one.labels = folder / "nowhere";
  CHECK(contains(error_of([&] { one.plan(); }), "nowhere: no such folder"));
}

TEST_CASE("camvid: real frames agree with the published small labels") {
  const fs::path samples = test::shared_folder() / "samples/camvid_original";
  if (!fs::exists(samples)) return;
  const test::TestFolder folder;
  CamvidConversion conversion{.images = samples / "701_StillsRaw_full",
                              .labels = samples / "LabeledApproved_full",
                              .out = folder.path(),
                              .classes = CamvidClasses::segnet,
                              .image_copy = ImageCopy::copy};
  const auto result = conversion.plan().at(0).run(false);
  CHECK(result.written == 2);
  CHECK(result.errors.empty());
  // Every second pixel of both directions against SegNet's labels of the same frames.
  for (const std::string frame : {"0016E5_07959", "0016E5_08155"}) {
    const Image made = read_label(folder / ("TrainID/val/" + frame + "_L_TrainID.png"));
    const Image published = read_label(test::shared_folder() / "camvid/labels/val" / (frame + ".png"));
    int differ = 0;
    for (int y = 0; y < 360; ++y)
      for (int x = 0; x < 480; ++x) differ += made.row(2 * y + 1)[2 * x] != published.row(y)[x];
    CHECK(differ <= 480 * 360 / 500);
  }
}
