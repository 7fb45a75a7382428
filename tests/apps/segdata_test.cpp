// segdata as a user runs it, on a tiny Cityscapes.
#include <doctest/doctest.h>

#include <fstream>

#include "data/image.h"
#include "tests/apps/program.h"
#include "tests/data/test_files.h"

namespace {
using namespace segrt;
namespace fs = std::filesystem;

struct Tree {
  test::WorkFolder folder;
  fs::path label(const std::string& split, const std::string& kind) const {
    return folder.path() / "city/gtFine" / split / ("ulm/u_1_gtFine_" + kind);
  }
  Tree() {
    for (const char* split : {"train", "val"}) {
      data::Image image(4, 6, 3), ids(4, 6, 1);
      image.pixels.assign(image.pixels.size(), 51);
      ids.pixels.assign(18, 7);   // road
      ids.pixels.resize(24, 23);  // sky
      ids.pixels[0] = 3;          // out of roi
      data::write_png(folder.path() / "city/leftImg8bit" / split / "ulm/u_1_leftImg8bit.png", image);
      data::write_png(label(split, "labelIds.png"), ids);
    }
    std::ofstream(folder.path() / "city.toml")
        << "[data]\nkind = \"cityscapes\"\nroot = \"city\"\n[model]\nname = \"x\"\n";
  }
  test::Outcome operator()(const std::string& command) const { return test::run(command, folder.path()); }
};
}  // namespace

TEST_CASE_FIXTURE(Tree, "segdata converts label ids, skips what is done, and says what the dataset holds") {
  const test::Outcome first = (*this)("segdata cityscapes city --split val");
  CAPTURE(first.output);
  CHECK(first.code == 0);
  CHECK(first.output == "val: 1 label maps written, 0 up to date, 0 failed\n");
  CHECK(!fs::exists(label("train", "labelTrainIds.png")));
  CHECK(test::read_file(folder.path() / "city/val.txt") == "ulm/u_1\n");
  const data::Image made = data::read_label(label("val", "labelTrainIds.png"));
  CHECK(made.pixels[0] == 255);
  CHECK(made.pixels[1] == 0);
  CHECK(made.pixels[23] == 10);
  const test::Outcome both = (*this)("segdata cityscapes --threads 1 city");
  CHECK(both.output ==
        "train: 1 label maps written, 0 up to date, 0 failed\nval: 0 label maps written, 1 up to date, 0 failed\n");
  CHECK((*this)("segdata cityscapes city --force").says("val: 1 label maps written"));

  const test::Outcome info = (*this)("segdata info city.toml --split val");
  CAPTURE(info.output);
  CHECK(info.code == 0);
  CHECK(info.says("cityscapes/val (val): 1 images\n"));
  CHECK(info.says("6x4          1 images (width x height)\n"));
  CHECK(info.says("measured     mean 0.2000 0.2000 0.2000  std 0.0000 0.0000 0.0000\n"));
  CHECK(info.says("in use       mean 0.2901 0.3281 0.2870  std 0.1830 0.1866 0.1845\n"));
  CHECK(info.says("    0  road                         17   70.833%        1\n"));
  CHECK(info.says("  255  ignored                       1    4.167%\n"));
}

TEST_CASE_FIXTURE(Tree, "segdata draws polygons, and names what it cannot convert") {
  const test::Outcome none = (*this)("segdata cityscapes city --from polygons");
  CHECK(none.code == 1);
  CHECK(none.says("segdata: error: city/gtFine: holds no"));
  std::ofstream(label("train", "polygons.json")) << R"({"imgHeight": 4, "imgWidth": 6, "objects": [
      {"label": "cargroup", "polygon": [[0, 0], [2, 0], [2, 3], [0, 3]]}]})";
  std::ofstream(label("val", "polygons.json")) << R"({"imgHeight": 4, "imgWidth": 6, "objects": [
      {"label": "hovercraft", "polygon": [[0, 0], [2, 0], [2, 3], [0, 3]]}]})";
  const test::Outcome drawn = (*this)("segdata cityscapes city --from polygons");
  CAPTURE(drawn.output);
  CHECK(drawn.code == 1);
  CHECK(drawn.says("train: 1 label maps written, 0 up to date, 0 failed"));
  CHECK(drawn.says("val: 0 label maps written, 0 up to date, 1 failed"));
  CHECK(drawn.says("u_1_gtFine_polygons.json: \"objects\"[0]: \"hovercraft\" is no Cityscapes label"));
  CHECK(drawn.says("segdata: error: city: 1 files could not be made"));
  const data::Image made = data::read_label(label("train", "labelTrainIds.png"));
  CHECK(made.pixels[2] == 13);
  CHECK(made.pixels[3] == 255);
  CHECK((*this)("segdata cityscapes nowhere").code == 1);
  CHECK((*this)("segdata cityscapes").code == 2);
  CHECK((*this)("segdata cityscapes city --from pixels").code == 2);
  CHECK((*this)("segdata cityscapes city --split test").says("city/gtFine/test: no such folder"));
  CHECK((*this)("segdata info city.toml --set data.rooot=x").says("data.rooot is not a known key"));
}
