// data/coco_stuff.h and data/coco_stuff_convert.h.
#include "data/coco_stuff.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdlib>
#include <set>

#include "core/error.h"
#include "core/random.h"
#include "data/coco_stuff_convert.h"
#include "data/tables.h"
#include "tests/data/mat_file.h"
#include "tests/data/test_files.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using segrt::test::contains;
using segrt::test::error_of;
using segrt::test::mat_file;
using segrt::test::mat_labels;
using segrt::test::MatMatrix;
namespace fs = std::filesystem;

namespace {

const std::set<int> kHoles = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91};  // of 10k; those of 164k are 1 less

// Class of a raw value of 10k: how many classes come before it.
int class_of(int raw) {
  int before = 0;
  for (int v = 1; v < raw; ++v) before += kHoles.count(v) == 0;
  return before;
}

std::vector<uint8_t> all_raw_values() {
  std::vector<uint8_t> values;
  for (int v = 0; v <= 182; ++v)
    if (kHoles.count(v) == 0) values.push_back(static_cast<uint8_t>(v));
  return values;
}

// Any JPEG will do for a photo.
std::string jpeg() { return test::read_file(test::golden_folder() / "images/photo.jpg"); }

struct Tree10k {
  test::TestFolder folder;
  Image photo = read_image(test::golden_folder() / "images/photo.jpg");

  void add(const std::string& list, const std::string& name, const std::vector<uint8_t>& labels) const {
    folder.write("images/" + name + ".jpg", jpeg());
    folder.write("annotations/" + name + ".mat",
                 mat_file({mat_labels(static_cast<uint32_t>(photo.height), static_cast<uint32_t>(photo.width), labels,
                                      name.back() == '2')}));
    const std::string before = test::read_file(folder / ("imageLists/" + list + ".txt"));
    folder.write("imageLists/" + list + ".txt", before + name + "\n");
  }
  std::vector<uint8_t> labels(uint64_t seed) const {
    const std::vector<uint8_t> raw = all_raw_values();
    Rng rng(seed, 0);
    std::vector<uint8_t> values(static_cast<size_t>(photo.height) * static_cast<size_t>(photo.width));
    for (uint8_t& v : values) v = raw[static_cast<size_t>(rng.integer(0, static_cast<int64_t>(raw.size()) - 1))];
    return values;
  }
};

}  // namespace

TEST_CASE("coco-stuff: 171 classes, numbered without the holes of the annotations") {
  const LabelTable classes = coco_stuff_labels();
  CHECK(classes.size() == 171);
  CHECK(classes.names[0] == "person");
  CHECK(classes.names[170] == "wood");
  CHECK(classes.colours[0] == Rgb{0, 192, 64});
  CHECK(std::set<std::string>(classes.names.begin(), classes.names.end()).size() == 171);
  const Remap k10 = coco_stuff_remap(CocoStuff::k10), k164 = coco_stuff_remap(CocoStuff::k164);
  for (int raw = 0; raw < 256; ++raw) {
    const auto v = static_cast<size_t>(raw);
    const bool known = raw <= 182 && kHoles.count(raw) == 0;
    CAPTURE(raw);
    CHECK(k10.known[v] == known);
    if (known) CHECK(k10.to[v] == (raw == 0 ? 0 : class_of(raw) + 1));
    CHECK(k164.known[v] == (raw == 255 || (raw <= 181 && kHoles.count(raw + 1) == 0)));
    if (raw == 255)
      CHECK(k164.to[v] == 255);
    else if (k164.known[v])
      CHECK(k164.to[v] == class_of(raw + 1));
  }
  // The names in the three tables are those of one list.
  for (const Table& table : {coco_stuff10k_table(), coco_stuff164k_table()})
    for (size_t i = 0; i < table.size(); ++i)
      if (const int id = table.number(i, "train_id"); id != 255)
        CHECK(table.text(i, "name") == classes.names[static_cast<size_t>(id)]);
}

TEST_CASE("coco-stuff: the tables are those of the specification") {
  const fs::path specified = test::shared_folder() / "../specs/tables";
  if (!fs::exists(specified)) return;
  for (const std::string name : {"coco_stuff10k_remap.tsv", "coco_stuff164k_remap.tsv", "coco_stuff_171.tsv"})
    CHECK(test::read_file(fs::path(test::source_dir()) / "data/tables" / name) == test::read_file(specified / name));
}

TEST_CASE("matlab files: S comes row by row, compressed or not, of any type of numbers") {
  if (!can_read_coco_stuff_mat()) return;
  const test::TestFolder folder;
  const std::vector<uint8_t> values{1, 2, 3, 182, 0, 92};
  for (const bool compressed : {false, true}) {
    MatMatrix before{.name = "names", .rows = 1, .columns = 3, .values = "abc", .compressed = compressed};
    const fs::path path = folder.write("s.mat", mat_file({before, mat_labels(2, 3, values, compressed)}));
    const Image s = read_coco_stuff_mat(path);
    CHECK(s.height == 2);
    CHECK(s.width == 3);
    CHECK(s.pixels == values);
  }
  MatMatrix real{.rows = 1, .columns = 2, .class_type = 6, .value_type = 9};
  for (const double v : {7.0, 182.0}) real.values.append(reinterpret_cast<const char*>(&v), 8);
  CHECK(read_coco_stuff_mat(folder.write("d.mat", mat_file({real}))).pixels == std::vector<uint8_t>{7, 182});
  real.values.clear();
  for (const double v : {7.0, 1.5}) real.values.append(reinterpret_cast<const char*>(&v), 8);
  CHECK(contains(error_of([&] { read_coco_stuff_mat(folder.write("d.mat", mat_file({real}))); }),
                 "d.mat: S(1, 2) is 1.5, expected an integer of 0 to 255"));
}

TEST_CASE("matlab files: what is none, is cut short or holds no S is refused by name") {
  if (!can_read_coco_stuff_mat()) return;
  const test::TestFolder folder;
  const auto refusal = [&](const std::string& bytes) {
    const fs::path path = folder.write("bad.mat", bytes);
    const std::string message = error_of([&] { read_coco_stuff_mat(path); });
    CHECK(message.starts_with(path.string() + ": "));
    return message;
  };
  CHECK(contains(error_of([&] { read_coco_stuff_mat(folder / "absent.mat"); }), "absent.mat: "));
  CHECK(contains(refusal(""), "not a MATLAB 5 file"));
  CHECK(contains(refusal(std::string(600, 'x')), "not a MATLAB 5 file"));
  CHECK(contains(refusal(mat_file({})), "holds no matrix S"));
  MatMatrix other = mat_labels(2, 3, {1, 2, 3, 4, 5, 6}, false);
  other.name = "T";
  CHECK(contains(refusal(mat_file({other})), "holds no matrix S"));
  MatMatrix huge = mat_labels(2, 3, {1, 2, 3, 4, 5, 6}, false);
  huge.rows = 1000000;
  huge.columns = 1000000;
  CHECK(contains(refusal(mat_file({huge})), "which is no image"));
  std::vector<uint8_t> values(500);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<uint8_t>(i * i % 183);
  for (const bool compressed : {false, true}) {
    const std::string whole = mat_file({mat_labels(20, 25, values, compressed)});
    for (size_t length = 0; length < whole.size(); length += 1 + length / 60) {
      CAPTURE(length);
      refusal(whole.substr(0, length));
    }
    CHECK(read_coco_stuff_mat(folder.write("whole.mat", whole)).pixels == values);
    // Damaged at will: an error or an image, never more.
    Rng rng(11, 0);
    for (int trial = 0; trial < 200; ++trial) {
      std::string damaged = whole;
      damaged[static_cast<size_t>(rng.integer(128, static_cast<int64_t>(whole.size()) - 1))] =
          static_cast<char>(rng.integer(0, 255));
      try {
        const Image s = read_coco_stuff_mat(folder.write("damaged.mat", damaged));
        CHECK(s.pixels.size() == s.row_bytes() * static_cast<size_t>(s.height));
      } catch (const FileError& e) {
        CHECK(contains(e.what(), "damaged.mat: "));
      }
    }
  }
}

TEST_CASE("matlab files: those that SciPy writes") {
  const char* python = std::getenv("SEGRT_SCIPY_PYTHON");  // one that has SciPy
  const std::string program = python != nullptr ? python : "python3";
  if (!can_read_coco_stuff_mat() || std::system((program + " -c 'import scipy.io' 2>/dev/null").c_str()) != 0) {
    MESSAGE("skipped: no python with scipy");
    return;
  }
  const test::TestFolder folder;
  const std::string script =
      "import numpy as np, scipy.io as io\n"
      "s = (np.arange(37 * 53).reshape(37, 53) * 7 % 183)\n"
      "for t in ('uint8', 'int32', 'float64'):\n"
      "  for c in (False, True):\n"
      "    io.savemat('" +
      folder.path().string() +
      "/%s_%d.mat' % (t, c), {'captions': np.array(['a', 'bc'], dtype=object),\n"
      "      'names': np.zeros((3, 1), dtype=object), 'S': s.astype(t), 'regionLabelsStuff': s[:1].astype('uint16')}, "
      "do_compression=c)\n";
  folder.write("make.py", script);
  REQUIRE(std::system((program + " '" + (folder / "make.py").string() + "'").c_str()) == 0);
  for (const std::string name : {"uint8_0", "uint8_1", "int32_0", "int32_1", "float64_0", "float64_1"}) {
    CAPTURE(name);
    const Image s = read_coco_stuff_mat(folder / (name + ".mat"));
    REQUIRE(s.height == 37);
    REQUIRE(s.width == 53);
    for (size_t i = 0; i < s.pixels.size(); ++i) REQUIRE(s.pixels[i] == i * 7 % 183);
  }
}

TEST_CASE_FIXTURE(Tree10k, "coco-stuff 10k: from its lists to samples") {
  if (!can_read_coco_stuff_mat()) return;
  const std::vector<uint8_t> first = labels(1), second = labels(2);
  add("train", "COCO_train2014_2", second);
  add("train", "COCO_train2014_1", first);
  add("test", "COCO_train2014_3", labels(3));
  const CocoStuffConversion conversion{.release = CocoStuff::k10, .root = folder.path(), .out = folder.path()};
  const auto plan = conversion.plan();
  REQUIRE(plan.size() == 2);
  CHECK(plan[0].warnings == std::vector<std::string>{"train2014: 2 images; the published data set has 9000"});
  for (const Conversion& c : plan) CHECK(c.run(false).errors.empty());
  CHECK(plan[0].run(false).up_to_date == 2);
  const Image stored = read_label(folder / "annotations/train2014/COCO_train2014_1_labelTrainIds.png");
  for (size_t i = 0; i < first.size(); ++i) REQUIRE(stored.pixels[i] == (first[i] == 0 ? 0 : class_of(first[i]) + 1));

  const auto dataset = open_coco_stuff({.release = CocoStuff::k10, .root = folder.path(), .split = "train"});
  REQUIRE(dataset->size() == 2);
  CHECK(dataset->name() == "coco_stuff10k/train");
  const Sample sample = dataset->load(0);
  CHECK(sample.name == "images/train2014/COCO_train2014_1.jpg");
  CHECK(sample.image == photo);
  for (size_t i = 0; i < first.size(); ++i)
    REQUIRE(sample.label.pixels[i] == (first[i] == 0 ? 255 : class_of(first[i])));
  CHECK(open_coco_stuff({.release = CocoStuff::k10, .root = folder.path(), .split = "val"})->load(0).name ==
        "images/test2014/COCO_train2014_3.jpg");
  CHECK(contains(
      error_of([&] { open_coco_stuff({.release = CocoStuff::k10, .root = folder.path(), .split = "trainval"}); }),
      "coco_stuff10k: there is no split \"trainval\": expected train, val or test"));

  // Files of another program: 255 stays ignored, 172 is no class.
  Image label(photo.height, photo.width, 1);
  label.pixels[0] = 255;
  write_png(folder / "annotations/train2014/COCO_train2014_1_labelTrainIds.png", label);
  CHECK(dataset->load(0).label.pixels[0] == 255);
  label.pixels[1] = 172;
  write_png(folder / "annotations/train2014/COCO_train2014_1_labelTrainIds.png", label);
  CHECK(contains(error_of([&] { dataset->load(0); }), "label value 172 at row 0, column 1"));
}

TEST_CASE_FIXTURE(Tree10k, "coco-stuff 10k: values and lists that are wrong are named") {
  if (!can_read_coco_stuff_mat()) return;
  std::vector<uint8_t> bad = labels(1);
  bad[static_cast<size_t>(photo.width) + 3] = 91;
  add("train", "a", bad);
  add("train", "b", labels(2));
  add("test", "c", labels(3));
  const CocoStuffConversion conversion{.release = CocoStuff::k10, .root = folder.path(), .out = folder / "out"};
  const auto result = conversion.plan()[0].run(false);
  CHECK(result.written == 1);
  CHECK(result.photos_placed == 2);
  REQUIRE(result.errors.size() == 1);
  CHECK(result.errors[0].starts_with((folder / "annotations/a.mat").string() +
                                     ": value 91 at row 1, column 3 is no class of COCO-Stuff 10k"));
  folder.write("imageLists/train.txt", "a\n\nb\na\n");
  CHECK(contains(error_of([&] { conversion.plan(); }), "train.txt: line 4: a is there twice"));
  folder.write("imageLists/train.txt", "../a\n");
  CHECK(contains(error_of([&] { conversion.plan(); }), "line 1: \"../a\" is no name of an image"));
  folder.write("imageLists/train.txt", "\n");
  CHECK(contains(error_of([&] { conversion.plan(); }), "train.txt: names no images"));
  fs::remove(folder / "imageLists/train.txt");
  CHECK(contains(error_of([&] { conversion.plan(); }), "train.txt: no such file"));
}

TEST_CASE("coco-stuff 164k: label maps and samples; grey photos become RGB") {
  const test::TestFolder folder;
  const fs::path images = test::golden_folder() / "images";
  const Image photo = read_image(images / "photo.jpg"), grey = read_image_as_rgb(images / "grey.jpg");
  Image raw(photo.height, photo.width, 1), grey_raw(grey.height, grey.width, 1);
  const std::vector<uint8_t> values = all_raw_values();
  for (size_t i = 0; i < raw.pixels.size(); ++i)
    raw.pixels[i] = static_cast<uint8_t>(values[i % values.size()] - 1);  // 0 becomes 255
  folder.write("images/train2017/000000000009.jpg", jpeg());
  folder.write("images/train2017/000000000025.jpg", test::read_file(images / "grey.jpg"));
  write_png(folder / "annotations/train2017/000000000009.png", raw);
  write_png(folder / "annotations/train2017/000000000025.png", grey_raw);
  const CocoStuffConversion conversion{.release = CocoStuff::k164, .root = folder.path(), .out = folder.path()};
  REQUIRE(conversion.plan().size() == 1);
  for (int pass = 0; pass < 2; ++pass) {  // what was made is no source
    const auto result = conversion.plan()[0].run(false);
    CHECK(result.errors.empty());
    CHECK(result.written == (pass == 0 ? 2 : 0));
    CHECK(result.up_to_date == (pass == 0 ? 0 : 2));
  }
  const auto dataset = open_coco_stuff({.release = CocoStuff::k164, .root = folder.path(), .split = "train"});
  REQUIRE(dataset->size() == 2);
  const Sample sample = dataset->load(0);
  for (size_t i = 0; i < raw.pixels.size(); ++i)
    REQUIRE(sample.label.pixels[i] == (raw.pixels[i] == 255 ? 255 : class_of(raw.pixels[i] + 1)));
  CHECK(dataset->load(1).image == grey);
  CHECK(dataset->load(1).label.pixels[0] == 0);

  raw.pixels[5] = 11;
  write_png(folder / "annotations/train2017/000000000009.png", raw);
  const auto result = conversion.plan()[0].run(true);
  REQUIRE(result.errors.size() == 1);
  CHECK(contains(result.errors[0], "000000000009.png: value 11 at row 0, column 5 is no class of COCO-Stuff 164k"));
  CHECK(
      contains(error_of([&] { open_coco_stuff({.release = CocoStuff::k164, .root = folder.path(), .split = "val"}); }),
               "images/val2017: no such folder"));
}

TEST_CASE("coco-stuff 164k: real annotations") {
  const fs::path samples = test::shared_folder() / "samples/coco_stuff";
  if (!fs::exists(samples)) return;
  const test::TestFolder folder;
  const CocoStuffConversion conversion{
      .release = CocoStuff::k164, .root = samples, .out = folder.path(), .image_copy = ImageCopy::copy};
  for (const Conversion& c : conversion.plan()) CHECK(c.run(false).errors.empty());
  const auto dataset = open_coco_stuff({.release = CocoStuff::k164, .root = folder.path(), .split = "trainval"});
  REQUIRE(dataset->size() == 5);
  for (int64_t i = 0; i < 5; ++i) {
    const Sample sample = dataset->load(i);
    const fs::path stem = fs::path(sample.name).lexically_relative("images").replace_extension(".png");
    const Image raw = read_label(samples / "annotations" / stem);
    REQUIRE(raw.pixels.size() == sample.label.pixels.size());
    for (size_t p = 0; p < raw.pixels.size(); ++p)
      REQUIRE(sample.label.pixels[p] == (raw.pixels[p] == 255 ? 255 : class_of(raw.pixels[p] + 1)));
  }
}
