// data/cityscapes_polygons.h and data/cityscapes_convert.h on a tree of the test's own.
#include "data/cityscapes_convert.h"

#include <doctest/doctest.h>

#include <chrono>
#include <string>

#include "core/error.h"
#include "data/cityscapes_dataset.h"
#include "data/cityscapes_polygons.h"
#include "tests/data/cityscapes_tree.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using From = CityscapesConversion::From;
using segrt::test::contains;
using segrt::test::error_of;
namespace fs = std::filesystem;

namespace {

constexpr const char* kIds = "labelIds.png";
constexpr const char* kTrainIds = "labelTrainIds.png";

std::string box(const std::string& label, int x0, int y0, int x1, int y1, const std::string& extra = "") {
  auto point = [](int x, int y) { return "[" + std::to_string(x) + ", " + std::to_string(y) + "]"; };
  return R"({"label": ")" + label + R"(", "polygon": [)" + point(x0, y0) + "," + point(x1, y0) + "," + point(x1, y1) +
         "," + point(x0, y1) + "]" + extra + "}";
}
std::string annotation(const std::string& objects, int height = 4, int width = 8) {
  return R"({"imgHeight": )" + std::to_string(height) + R"(, "imgWidth": )" + std::to_string(width) +
         R"(, "objects": [)" + objects + "]}";
}
std::string rows(const Image& label) {
  std::string text;
  for (int y = 0; y < label.height; ++y) {
    for (int x = 0; x < label.width; ++x) text += (x ? " " : "") + std::to_string(label.row(y)[x]);
    text += '\n';
  }
  return text;
}

struct Tree : test::CityscapesTree {
  Conversion::Result convert(From from = From::label_ids, bool force = false) const {
    return CityscapesConversion{.root = root(), .split = "train", .from = from}.plan().run(force);
  }
};

}  // namespace

TEST_CASE_FIXTURE(Tree, "annotations are drawn in their order, in train ids") {
  const fs::path file =
      add_polygons("train", "ulm/u_1",
                   annotation(box("road", 0, 1, 7, 3) + "," +                          // 0
                              box("cargroup", 1, 1, 3, 2) + "," +                      // several cars: 13
                              box("license plate", 2, 2, 3, 2) + "," +                 // not drawn: the car stays
                              box("sky", 0, 0, 7, 3, R"(, "deleted": 1)") + "," +      // not drawn
                              box("tree house", 0, 0, 7, 3, R"(, "deleted": true)") +  // nor looked at
                              "," + box("polegroup", 5, 1, 5, 2) + "," +  // a label of its own that is not evaluated
                              box("person", 6, 0, 6, 1, R"(, "deleted": 0)") + "," +  // 11
                              box("out of roi", 7, 0, 7, 3)));                        // 255 over the road
  CHECK(rows(draw_train_ids(read_cityscapes_polygons(file))) ==
        "255 255 255 255 255 255 11 255\n"
        "0 13 13 13 0 255 11 255\n"
        "0 13 13 13 0 255 0 255\n"
        "0 0 0 0 0 0 0 255\n");
}

TEST_CASE_FIXTURE(Tree, "coordinates lose their fraction, and objects may lie outside") {
  // Pillow: ImageDraw.polygon([(1.9, 1.2), (6.7, 0.9), (5.99, 4.99)])
  const fs::path file = add_polygons(
      "train", "ulm/u_1",
      annotation(R"({"label": "car", "polygon": [[1.9, 1.2], [6.7, 0.9], [5.99, 4.99]]}, )" + box("bus", 90, -9, 99, 3),
                 6, 9));
  const Image label = draw_train_ids(read_cityscapes_polygons(file));
  const std::string picture =
      "......#.."
      ".######.."
      "..####..."
      "....##..."
      ".....#..."
      ".........";
  for (size_t i = 0; i < picture.size(); ++i) CHECK(label.pixels[i] == (picture[i] == '#' ? 13 : 255));
}

TEST_CASE_FIXTURE(Tree, "annotations that make no sense are refused by file and object") {
  auto refusal = [&](const std::string& json) {
    const fs::path file = add_polygons("train", "ulm/u_1", json);
    const std::string message = error_of([&] { read_cityscapes_polygons(file); });
    CHECK(message.starts_with(file.string() + ": "));
    return message.substr(std::min(message.size(), file.string().size() + 2));
  };
  CHECK(error_of([] { read_cityscapes_polygons("/nowhere.json"); }) == "/nowhere.json: no such file");
  CHECK(contains(error_of([&] { read_cityscapes_polygons(root()); }), "is a folder"));
  CHECK(contains(refusal("{"), "not valid JSON"));
  CHECK(refusal("[1]") == "\"imgHeight\": expected an integer from 1 to 32767, got nothing");
  CHECK(refusal(annotation("", 4, 0)) == "\"imgWidth\": expected an integer from 1 to 32767, got 0");
  CHECK(contains(refusal(annotation("", 32767, 32767)), "above the limit"));
  CHECK(refusal(R"({"imgHeight": 2, "imgWidth": 2})") == "\"objects\": expected a list");
  CHECK(refusal(annotation("3")) == "\"objects\"[0]: expected a \"label\", a text");
  CHECK(refusal(annotation(box("road", 0, 0, 1, 1) + "," + box("tree house", 0, 0, 1, 1))) ==
        "\"objects\"[1]: \"tree house\" is no Cityscapes label");
  CHECK(contains(refusal(annotation(box("tree housegroup", 0, 0, 1, 1))), "is no Cityscapes label"));
  CHECK(contains(refusal(annotation(R"({"label": "car"})")), "\"objects\"[0] (\"car\"): expected a \"polygon\""));
  CHECK(contains(refusal(annotation(R"({"label": "car", "polygon": [[1, 2]]})")), "at least two points"));
  for (const char* point : {"[1]", "[1, 2, 3]", "[1, \"2\"]", "7", "[1, 1000001]", "[-1e300, 0]", "[null, 0]"})
    CHECK(contains(refusal(annotation(R"({"label": "car", "polygon": [[0, 0], )" + std::string(point) + "]}")),
                   std::string("expected a point [x, y] of numbers within +-1000000, got ")));
}

TEST_CASE_FIXTURE(Tree, "a conversion writes what is missing or old, and all of it when forced") {
  add_image("train", "aachen/a_1");
  add_image("train", "ulm/u_1");
  add_label("train", "aachen/a_1", kIds, 7, 34);
  add_label("train", "ulm/u_1", kIds, 0, 34);
  const fs::path first = label_path("train", "aachen/a_1", kTrainIds),
                 second = label_path("train", "ulm/u_1", kTrainIds);
  int64_t calls = 0, last = 0;
  const Conversion plan = CityscapesConversion{.root = root(), .split = "train"}.plan();
  const auto result = plan.run(false, [&](int64_t done, int64_t total) {
    CHECK(total == 2);
    ++calls;
    last = done;
  });
  CHECK(calls == 2);
  CHECK(last == 2);
  CHECK(result.written == 2);
  CHECK(result.up_to_date == 0);
  CHECK(result.errors.empty());
  CHECK(test::read_file(root() / "train.txt") == "aachen/a_1\nulm/u_1\n");
  // What the dataset makes of the label ids on the way is what the files hold now.
  const Cityscapes from_ids({.root = root(), .labels = Cityscapes::Labels::label_ids});
  const Cityscapes from_files({.root = root(), .labels = Cityscapes::Labels::train_ids});
  for (int64_t i = 0; i < 2; ++i) CHECK(from_ids.load(i).label == from_files.load(i).label);

  const auto again = convert();
  CHECK(again.written == 0);
  CHECK(again.up_to_date == 2);
  fs::last_write_time(second, fs::last_write_time(label_path("train", "ulm/u_1", kIds)) - std::chrono::seconds(1));
  const auto newer_source = convert();
  CHECK(newer_source.written == 1);
  CHECK(newer_source.up_to_date == 1);
  fs::remove(first);
  CHECK(convert().written == 1);
  CHECK(fs::exists(first));
  CHECK(convert(From::label_ids, true).written == 2);
}

TEST_CASE_FIXTURE(Tree, "a bad file does not keep the others from being converted") {
  for (const char* frame : {"ulm/u_1", "ulm/u_2", "ulm/u_3"}) add_label("train", frame, kIds, 0, 34);
  add_label("train", "ulm/u_2", kIds, 30, 40);
  const auto result = convert();
  CHECK(result.written == 2);
  REQUIRE(result.errors.size() == 1);
  CHECK(result.errors[0] == label_path("train", "ulm/u_2", kIds).string() +
                                ": value 34 at row 0, column 4 is no Cityscapes label id (0..33)");
  CHECK(!fs::exists(label_path("train", "ulm/u_2", kTrainIds)));
  size_t files = 0;  // and no temporary one
  for ([[maybe_unused]] const auto& file : fs::directory_iterator(root() / "gtFine/train/ulm")) ++files;
  CHECK(files == 5);
}

TEST_CASE_FIXTURE(Tree, "outlines that cross themselves are converted by Pillow's rule") {
  // What Pillow 13.0 paints of the same corners, as in tests/data/polygon_test.cpp.
  add_polygons("train", "ulm/u_1",
               annotation(R"({"label": "truckgroup", "polygon": [[1, 1], [10, 7], [10, 1], [1, 7]]})", 9, 12));
  CHECK(convert(From::polygons).written == 1);
  const Image label = read_label(label_path("train", "ulm/u_1", kTrainIds));
  const std::string picture =
      "............"
      ".#........#."
      ".##......##."
      ".####..####."
      ".##########."
      ".####..####."
      ".##......##."
      ".#........#."
      "............";
  REQUIRE(label.pixels.size() == picture.size());
  for (size_t i = 0; i < picture.size(); ++i) CHECK(label.pixels[i] == (picture[i] == '#' ? 14 : 255));
}

TEST_CASE_FIXTURE(Tree, "polygons and label ids of the same annotation give the same map") {
  add_polygons("train", "ulm/u_1", annotation(box("road", 0, 1, 7, 3) + "," + box("dynamic", 2, 0, 3, 2)));
  Image ids(4, 8, 1);  // unlabeled, road 7, dynamic 5
  for (int y = 0; y < 4; ++y)
    for (int x = 0; x < 8; ++x)
      ids.row(y)[x] = (x == 2 || x == 3) && y <= 2 ? uint8_t{5} : y >= 1 ? uint8_t{7} : uint8_t{0};
  write_png(label_path("train", "ulm/u_1", kIds), ids);
  CHECK(convert(From::polygons).written == 1);
  const Image drawn = read_label(label_path("train", "ulm/u_1", kTrainIds));
  CHECK(convert(From::label_ids, true).written == 1);
  CHECK(read_label(label_path("train", "ulm/u_1", kTrainIds)) == drawn);
}

TEST_CASE_FIXTURE(Tree, "a split without files to convert is an error; the others are found") {
  const std::string gt = (root() / "gtFine").string();
  auto splits = [&](From from) { return CityscapesConversion::splits_of(root(), from); };
  CHECK(error_of([&] { splits(From::polygons); }) == gt + ": no such folder");
  CHECK(error_of([&] { convert(); }) == gt + "/train: no such folder");
  fs::create_directories(gt + "/train/ulm");
  CHECK(error_of([&] { convert(From::polygons); }) == gt + "/train: holds no <city>/*_gtFine_polygons.json");
  CHECK(error_of([&] { splits(From::label_ids); }) == gt + ": holds no {train,val,test}/<city>/*_gtFine_labelIds.png");
  add_label("val", "bonn/b_1", kIds, 0, 34);
  add_label("train", "ulm/u_1", kIds, 0, 34);
  CHECK(splits(From::label_ids) == std::vector<std::string>{"train", "val"});
}
