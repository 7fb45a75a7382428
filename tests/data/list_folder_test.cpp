#include "data/list_folder.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "tests/data/test_files.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using segrt::test::contains;
using segrt::test::error_of;

namespace {

constexpr const char* kInfo = R"({"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 1]})";
constexpr const char* kClasses = R"({"classes": [{"id": 0, "name": "road", "color": [1, 2, 3]},
                                                 {"id": 1, "name": "sky", "color": [4, 5, 6]}], "ignore_label": 254})";

// Two training samples of 4x6 pixels with two classes.
struct Folder : test::TestFolder {
  Folder() {
    write("info.json", kInfo);
    write("classes.json", kClasses);
    write("train_images.txt", "images/a.png\n  images/b.png \r\n");
    write("train_labels.txt", "labels/a.png\nlabels/b.png");
    Image label(4, 6, 1);
    label.row(1)[2] = 1;
    label.row(3)[5] = 254;
    for (const char* name : {"a.png", "b.png"}) {
      write_png(*this / "images" / name, Image(4, 6, 3));
      write_png(*this / "labels" / name, label);
    }
  }
  std::string error(const std::string& phase = "train") const {
    return error_of([&] { ListFolder({.folder = path(), .phase = phase}); });
  }
  // Opening fails with a message that starts with the path of `file` and says `cause`.
  void check_error(const std::string& file, const std::string& cause, const std::string& phase = "train") const {
    const std::string message = error(phase);
    CAPTURE(message);
    CHECK(message.starts_with((path() / file).string() + ": "));
    CHECK(contains(message, cause));
  }
};

}  // namespace

TEST_CASE_FIXTURE(Folder, "a list folder gives its samples, classes and statistics") {
  const ListFolder dataset({.folder = path()});
  CHECK(dataset.size() == 2);
  CHECK(dataset.has_labels());
  CHECK(dataset.name() == path().filename().string() + "/train");
  CHECK(dataset.mean() == std::array{0.1, 0.2, 0.3});
  CHECK(dataset.std() == std::array{0.4, 0.5, 1.0});
  CHECK(dataset.classes().names == std::vector<std::string>{"road", "sky"});
  CHECK(dataset.classes().colours == std::vector<Rgb>{{1, 2, 3}, {4, 5, 6}});
  CHECK(dataset.classes().ignore_index == 254);
  const Sample sample = dataset.load(1);
  CHECK(sample.name == "images/b.png");
  CHECK(sample.image.height == 4);
  CHECK(sample.label.row(1)[2] == 1);
  Image prediction(1, 2, 1);
  prediction.pixels = {1, 0};
  const PredictionFile file = dataset.prediction_file("images/b.jpg", prediction);
  CHECK(file.path == "images/b.png");
  CHECK(file.values == prediction);
  CHECK(file.palette.empty());
  CHECK_THROWS_AS(dataset.load(2), ArgumentError);
  CHECK_THROWS_AS(dataset.load(-1), ArgumentError);
}

TEST_CASE_FIXTURE(Folder, "lists may lie elsewhere, labels may be missing, classes may be given") {
  std::filesystem::create_directories(*this / "lists");
  std::filesystem::rename(*this / "train_images.txt", *this / "lists/test_images.txt");
  std::filesystem::remove(*this / "classes.json");
  const ListFolder dataset(
      {.folder = path(), .phase = "test", .list_folder = *this / "lists", .classes = generic_labels(3)});
  CHECK(dataset.size() == 2);
  CHECK(!dataset.has_labels());
  CHECK(dataset.load(0).label.empty());
  CHECK(dataset.classes().size() == 3);
}

TEST_CASE_FIXTURE(Folder, "label maps may count classes from 1") {
  const ListFolder dataset({.folder = path(), .reduce_zero_label = true});
  CHECK(dataset.name() != ListFolder({.folder = path()}).name());  // a cache of one is none of the other
  const Image label = dataset.load(0).label;
  CHECK(label.row(0)[0] == 254);  // the ignore index of this folder
  CHECK(label.row(1)[2] == 0);
  CHECK(label.row(3)[5] == 254);
  Image two(4, 6, 1);
  two.row(0)[0] = 2;
  write_png(path() / "labels" / "a.png", two);
  CHECK(dataset.load(0).label.row(0)[0] == 1);
  two.row(0)[0] = 3;  // one past the last class
  write_png(path() / "labels" / "a.png", two);
  CHECK(contains(error_of([&] { dataset.load(0); }), "label value 2 at row 0, column 0"));
}

TEST_CASE_FIXTURE(Folder, "wrong lists are named with the line") {
  check_error("val_images.txt", "no such file", "val");
  write("train_labels.txt", "labels/a.png\n");
  check_error("train_labels.txt", "lists 1 files");
  check_error("train_labels.txt", "line 2");
  write("train_images.txt", "images/a.png\n\nimages/b.png\n");
  check_error("train_images.txt", "line 2 is empty");
  write("train_images.txt", "images/a.png\n/etc/passwd\n");
  check_error("train_images.txt", "line 2");
  write("train_images.txt", "images/../../a.png\n");
  check_error("train_images.txt", "line 1");
  write("train_images.txt", "\n \n");
  check_error("train_images.txt", "lists no files");
  CHECK(contains(error_of([] { ListFolder({.folder = "/no/such/folder"}); }), "/no/such/folder: no such folder"));
}

TEST_CASE_FIXTURE(Folder, "wrong statistics are named") {
  std::filesystem::remove(*this / "info.json");
  check_error("info.json", "no such file");
  for (const auto& [text, cause] : {std::pair{"{\"mean\": [1,", "not valid JSON"},
                                    {"[]", "\"mean\" is missing"},
                                    {"{\"mean\": [0.1, 0.2, 0.3]}", "\"std\" is missing"},
                                    {"{\"mean\": [0.1, 0.2], \"std\": [1, 1, 1]}", "got [0.1,0.2]"},
                                    {"{\"mean\": [0.1, 0.2, \"x\"], \"std\": [1, 1, 1]}", "\"mean\""},
                                    {"{\"mean\": [123, 116, 103], \"std\": [1, 1, 1]}", "\"mean\""},
                                    {"{\"mean\": [0.1, 0.2, 0.3], \"std\": [1, 0, 1]}", "\"std\""}}) {
    write("info.json", text);
    check_error("info.json", cause);
  }
}

TEST_CASE_FIXTURE(Folder, "wrong class lists are named") {
  for (const auto& [text, cause] :
       {std::pair{"{}", "\"classes\""},
        {R"({"classes": []})", "1 to 255"},
        {R"({"classes": [{"name": 3}]})", "\"classes\"[0]"},
        {R"({"classes": [{"id": 1, "name": "a"}]})", "expected \"id\" 0, got 1"},
        {R"({"classes": [{"name": "a", "color": [1, 2, 256]}]})", "\"color\""},
        {R"({"classes": [{"name": "a", "color": [1, 2, 3]}, {"name": "b"}]})", "some have none"},
        {R"({"classes": [{"name": "a"}], "ignore_label": 0})", "\"ignore_label\""}}) {
    write("classes.json", text);
    check_error("classes.json", cause);
  }
  std::filesystem::remove(*this / "classes.json");
  check_error("classes.json", "no such file");
}

TEST_CASE_FIXTURE(Folder, "wrong samples are named when they are loaded") {
  const ListFolder dataset({.folder = path()});
  Image label(4, 6, 1);
  label.row(2)[3] = 2;
  label.row(2)[4] = 255;
  write_png(*this / "labels/a.png", label);
  CHECK(error_of([&] { dataset.load(0); }) ==
        (*this / "labels/a.png").string() +
            ": label value 2 at row 2, column 3 is neither a class (0..1) nor the ignore index 254");
  write_png(*this / "labels/a.png", Image(4, 5, 1));
  CHECK(contains(error_of([&] { dataset.load(0); }), "labels/a.png: label map is 5x4"));
  std::filesystem::remove(*this / "labels/a.png");
  CHECK(contains(error_of([&] { dataset.load(0); }), "labels/a.png: no such file"));
  write("images/a.png", "no image");
  CHECK(contains(error_of([&] { dataset.load(0); }), "images/a.png: neither a JPEG"));
  CHECK_NOTHROW(dataset.load(1));
}

TEST_CASE("CamVid as a list folder") {
  const auto folder = test::shared_folder() / "camvid";
  if (!std::filesystem::exists(folder)) return;
  const ListFolder train({.folder = folder}), val({.folder = folder, .phase = "val"});
  CHECK(train.size() == 367);
  CHECK(val.size() == 101);
  CHECK(train.classes() == camvid_labels());
  CHECK(train.load(366).image.width == 480);
}
