#include "data/suffix_folders.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "tests/data/test_files.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using segrt::test::contains;
using segrt::test::error_of;
namespace fs = std::filesystem;

namespace {

struct Tree {
  test::TestFolder folder;
  SuffixFolders::Options options;

  Tree() {
    options = {.root = folder.path(),
               .name = "toy/train",
               .folders = {{"images/train", "labels/train"}},
               .image_suffix = ".png",
               .label_suffix = "_id.png",
               .classes = generic_labels(3),
               .converter = "segdata toy"};
  }
  void add(const std::string& key, int label, int height = 2, int width = 3, const std::string& split = "train") const {
    Image image(height, width, 3), ids(height, width, 1);
    image.pixels[0] = static_cast<uint8_t>(10 * label);
    ids.pixels.assign(ids.pixels.size(), static_cast<uint8_t>(label));
    write_png(folder / ("images/" + split + "/" + key + ".png"), image);
    write_png(folder / ("labels/" + split + "/" + key + "_id.png"), ids);
  }
  std::string refusal() const {
    return error_of([&] { SuffixFolders dataset(options); });
  }
};

}  // namespace

TEST_CASE_FIXTURE(Tree, "folders by suffix: files of all depths, sorted by path") {
  add("b", 1);
  add("a/z", 2);
  add("a-b", 0);
  folder.write("images/train/.a.png", "x");
  folder.write("images/train/.git/c.png", "x");
  folder.write("images/train/readme.txt", "x");
  folder.write("labels/train/b.png", "of another kind");
  const SuffixFolders dataset(options);
  REQUIRE(dataset.size() == 3);
  CHECK(dataset.load(0).name == "images/train/a-b.png");
  CHECK(dataset.load(1).name == "images/train/a/z.png");
  CHECK(dataset.load(1).image.pixels[0] == 20);
  CHECK(dataset.load(1).label.pixels == std::vector<uint8_t>(6, 2));
  CHECK(dataset.load(2).name == "images/train/b.png");
  CHECK(dataset.files(1) == std::vector<fs::path>{folder / "images/train/a/z.png", folder / "labels/train/a/z_id.png"});
  CHECK_THROWS_AS(dataset.load(3), ArgumentError);
  folder.write("info.json", R"({"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]})");
  CHECK(SuffixFolders(options).mean() == std::array<double, 3>{0.1, 0.2, 0.3});
}

TEST_CASE_FIXTURE(Tree, "folders by suffix: several folders are one split") {
  add("b", 1);
  add("a", 2, 2, 3, "val");
  add("c", 0, 2, 3, "val");
  options.folders.push_back({"images/val", "labels/val"});
  const SuffixFolders dataset(options);
  REQUIRE(dataset.size() == 3);
  CHECK(dataset.load(0).name == "images/val/a.png");
  CHECK(dataset.load(1).name == "images/train/b.png");
  add("b", 2, 2, 3, "val");
  CHECK(refusal() == (folder / "images/train/b.png").string() + ": " + (folder / "images/val").string() +
                         " has a file of the same name");
}

TEST_CASE_FIXTURE(Tree, "folders by suffix: zero is ignored and the others are one less, if so told") {
  options.reduce_zero_label = true;
  add("a", 0);
  add("b", 3);
  add("c", 255);
  add("d", 4);
  const SuffixFolders dataset(options);
  CHECK(dataset.load(0).label.pixels[0] == 255);
  CHECK(dataset.load(1).label.pixels[0] == 2);
  CHECK(dataset.load(2).label.pixels[0] == 255);
  CHECK(contains(error_of([&] { dataset.load(3); }), "labels/train/d_id.png: label value 4 at row 0, column 0"));
}

TEST_CASE_FIXTURE(Tree, "folders by suffix: what is missing is named, or listed") {
  CHECK(refusal() == (folder / "images/train").string() + ": no such folder");
  fs::create_directories(folder / "images/train");
  CHECK(contains(refusal(), "images/train: holds no images (*.png)"));
  add("a", 1);
  fs::rename(folder / "labels", folder / "l");
  CHECK(contains(refusal(), "labels/train: holds no label maps (*_id.png); `segdata toy` makes them"));
  fs::rename(folder / "l", folder / "labels");
  add("b", 1);
  fs::remove(folder / "labels/train/b_id.png");
  CHECK(refusal() == (folder / "images/train/b.png").string() + ": image without a label map: there is no " +
                         (folder / "labels/train/b_id.png").string());
  add("c", 1);
  fs::remove(folder / "images/train/c.png");
  CHECK(refusal() == (folder / "labels/train/c_id.png").string() + ": label map without an image: there is no " +
                         (folder / "images/train/c.png").string());
  std::vector<std::string> problems;
  options.problems = &problems;
  CHECK(SuffixFolders(options).size() == 1);
  CHECK(problems.size() == 2);
  add("a", 1);
  write_png(folder / "labels/train/a_id.png", Image(2, 4, 1));
  CHECK(contains(error_of([&] { SuffixFolders(options).load(0); }), "a_id.png: label map is 4x2, but "));
  options.root = folder / "nowhere";
  CHECK(refusal() == (folder / "nowhere").string() + ": no such folder");
}
