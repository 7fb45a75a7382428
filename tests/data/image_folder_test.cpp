#include "data/image_folder.h"

#include <doctest/doctest.h>

#include <cstdlib>

#include "core/error.h"
#include "data/dataset_info.h"
#include "data/statistics.h"
#include "tests/data/test_files.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using segrt::test::contains;
using segrt::test::error_of;
using segrt::test::TestFolder;
namespace fs = std::filesystem;

namespace {

Image grey_square(int height, int width, uint8_t value) {
  Image image(height, width, 3);
  image.pixels.assign(image.pixels.size(), value);
  return image;
}

// Three classes of two, one and three images in train/, of one each in val/, and two images in test/.
struct Tree : TestFolder {
  Tree() {
    for (const char* file :
         {"train/b10/x.png", "train/b10/sub/a.PNG", "train/B2/z.png", "train/b9/3.png", "train/b9/1.png",
          "train/b9/2.png", "val/B2/v.png", "val/b10/v.png", "val/b9/v.png", "test/q.png", "test/deep/p.png"})
      write_png(path() / file, grey_square(5, 7, static_cast<uint8_t>(file[6])));
    write("train/b9/notes.txt", "no image");
    fs::remove_all(path() / "test/deep");
    write_png(path() / "test/p.png", grey_square(5, 7, 1));
  }
  ImageFolder open(const std::string& split) const { return ImageFolder({.root = path(), .split = split}); }
  std::string refusal(const std::string& split) const {
    return error_of([&] { open(split); });
  }
};

std::vector<std::string> names_of(const Dataset& dataset) {
  std::vector<std::string> names;
  for (int64_t i = 0; i < dataset.size(); ++i) names.push_back(dataset.load(i).name);
  return names;
}

}  // namespace

TEST_CASE_FIXTURE(Tree, "classes are the folders by byte order, images by class, folder and name") {
  const ImageFolder train = open("train"), val = open("val");
  CHECK(train.classes().names == std::vector<std::string>{"B2", "b10", "b9"});
  CHECK(train.classes().colours.empty());
  CHECK(train.classes().ignore_index == -1);
  CHECK(train.is_classification());
  CHECK(names_of(train) == std::vector<std::string>{"train/B2/z.png", "train/b10/x.png", "train/b10/sub/a.PNG",
                                                    "train/b9/1.png", "train/b9/2.png", "train/b9/3.png"});
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < train.size(); ++i) labels.push_back(train.class_of(i));
  CHECK(labels == std::vector<int64_t>{0, 1, 1, 2, 2, 2});
  CHECK(train.load(0).image == grey_square(5, 7, 'B'));
  CHECK(train.load(0).label.empty());
  CHECK(train.mean() == kImagenetMean);
  CHECK(train.std() == kImagenetStd);
  CHECK(val.size() == 3);
  CHECK(val.classes() == train.classes());
  CHECK(contains(val.name(), "/val"));
  CHECK_THROWS_AS(train.load(6), ArgumentError);
  CHECK_THROWS_AS(train.class_of(-1), ArgumentError);
}

TEST_CASE_FIXTURE(Tree, "test may be without classes, then names are those of train") {
  const ImageFolder test = open("test");
  CHECK(!test.has_labels());
  CHECK(test.is_classification());
  CHECK(names_of(test) == std::vector<std::string>{"test/p.png", "test/q.png"});
  CHECK(test.classes().size() == 3);
  CHECK(contains(error_of([&] { test.class_of(0); }), "has no class"));
  fs::remove_all(path() / "train");
  CHECK(open("test").classes().size() == 3);  // of val
  write_png(path() / "test/b9/q.png", grey_square(2, 2, 0));
  CHECK(open("test").has_labels());
}

TEST_CASE_FIXTURE(Tree, "folders that do not fit are named") {
  fs::create_directories(path() / "train/empty");
  CHECK(contains(refusal("train"), "train/empty: an empty class"));
  CHECK(contains(refusal("val"), "val: lacks the class empty"));
  fs::remove_all(path() / "train/empty");
  write_png(path() / "val/new/a.png", grey_square(2, 2, 0));
  CHECK(contains(refusal("val"), "val/new: a class that"));
  CHECK(refusal("train").empty());
  CHECK(contains(refusal("nowhere"), "nowhere: no such folder"));
  fs::create_directories(path() / "flat/train");
  CHECK(contains(error_of([&] { ImageFolder({.root = path() / "flat"}); }), "flat/train: holds no class"));
  CHECK(contains(error_of([&] { ImageFolder({.root = path() / "missing"}); }), "missing: no such folder"));
  write("train/b9/1.png", "garbage");
  CHECK(contains(error_of([&] { open("train").load(3); }), "train/b9/1.png: neither a JPEG nor a PNG file"));
}

TEST_CASE_FIXTURE(Tree, "names for people, and mean and std from info.json") {
  const fs::path list =
      write("names.txt", "b9 tench, Tinca tinca\r\n\nother x\n  b10   goldfish\nB2 great white shark\n");
  const ImageFolder named({.root = path(), .class_names = list});
  CHECK(named.classes().names == std::vector<std::string>{"great white shark", "goldfish", "tench, Tinca tinca"});
  CHECK(read_class_names(list).size() == 4);
  const auto message = [&](const std::string& text) {
    write("names.txt", text);
    return error_of([&] { ImageFolder({.root = path(), .class_names = list}); });
  };
  CHECK(contains(message("b9 x\nb10 y\n"), "names.txt: has no line for the class B2"));
  CHECK(contains(message("b9\n"), "names.txt: line 1: expected \"<folder> <name>\""));
  CHECK(contains(message("b9 x\nb9 y\n"), "names.txt: line 2: a second name for b9"));

  write("info.json", R"({"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]})");
  CHECK(open("val").mean() == std::array<double, 3>{0.1, 0.2, 0.3});
  CHECK(open("val").std() == std::array<double, 3>{0.4, 0.5, 0.6});
  write("info.json", "{}");
  CHECK(contains(refusal("val"), "info.json: \"mean\" is missing"));
  CHECK(ImageFolder({.root = path(), .needs_info = false}).size() == 6);
}

TEST_CASE("photos of every kind become RGB where classifiers read them") {
  const fs::path images = test::golden_folder() / "images";
  // PNG: exact. JPEG: decoders may differ in the rounding of the inverse DCT, and in that of c * k / 255 once more.
  for (const auto& [file, tolerance] :
       {std::pair{"palette_photo.png", 0}, {"rgba_photo.png", 0}, {"grey_photo.jpg", 2}, {"cmyk_photo.jpg", 3}}) {
    CAPTURE(file);
    const std::string stem = fs::path(file).stem().string();
    const Image image = read_image_as_rgb(images / file), expected = read_image(images / (stem + "_decoded.png"));
    REQUIRE(image.channels == 3);
    REQUIRE(image.pixels.size() == expected.pixels.size());
    int worst = 0;
    for (size_t i = 0; i < image.pixels.size(); ++i)
      worst = std::max(worst, std::abs(image.pixels[i] - expected.pixels[i]));
    CHECK(worst <= tolerance);
    CHECK(contains(error_of([&] { read_image(images / file); }), "needs 3 channels"));  // segmentation stays strict
  }
  CHECK(read_image_as_rgb(images / "rgb.png") == read_image(images / "rgb.png"));
  CHECK(contains(error_of([&] { read_image_as_rgb(images / "rgb16.png"); }), "found 16"));

  std::string unmarked = test::read_file(images / "cmyk_photo.jpg");
  unmarked[unmarked.find("Adobe")] = 'a';
  const TestFolder folder;
  const std::string message = error_of([&] { read_image_as_rgb(folder.write("unmarked.jpg", unmarked)); });
  CHECK(contains(message, "unmarked.jpg: a JPEG of four components without Adobe's marker"));
}

TEST_CASE_FIXTURE(Tree, "statistics of a classification dataset: images by class of all, pixels of those read") {
  const ImageFolder train = open("train");
  const std::vector<int64_t> some{0, 3};
  const DatasetStatistics s = statistics_of(train, some);
  CHECK(s.images == 2);
  CHECK(s.images_with == std::vector<int64_t>{1, 2, 3});
  CHECK(s.ignored == 0);
  const double b = 'B' / 255.0, c = 'b' / 255.0;
  CHECK(s.mean[0] == doctest::Approx((b + c) / 2));
  CHECK(s.std[2] == doctest::Approx((c - b) / 2));

  const TestFolder out;
  const fs::path file = out.write("info.json", dataset_info(train, s));
  const auto [mean, std] = read_mean_and_std(file);
  CHECK(mean == s.mean);  // to the last bit
  CHECK(std == s.std);
  const std::string text = test::read_file(file);
  CHECK(contains(text, "\"images_measured\": 2"));
  CHECK(contains(text, "\"name\": \"b9\",\n   \"share\": 0.5,\n   \"images\": 3"));
  CHECK(!contains(text, "pixels"));
  const std::vector<int64_t> one{0};
  CHECK(contains(error_of([&] { dataset_info(train, statistics_of(train, one)); }), "nothing to normalise by"));
}
