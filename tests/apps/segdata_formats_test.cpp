// segdata's converters of CamVid and COCO-Stuff, check and cache, as a user runs them.
#include <doctest/doctest.h>

#include <fstream>

#include "data/coco_stuff.h"
#include "data/image.h"
#include "tests/apps/program.h"
#include "tests/data/mat_file.h"
#include "tests/data/test_files.h"

namespace {
using namespace segrt;
namespace fs = std::filesystem;

struct Folder {
  test::WorkFolder folder;
  fs::path at(const std::string& name) const { return folder.path() / name; }
  test::Outcome operator()(const std::string& command) const { return test::run(command, folder.path()); }
  void write(const std::string& name, const std::string& text) const {
    fs::create_directories(at(name).parent_path());
    std::ofstream(at(name), std::ios::binary) << text;
  }
  // A frame of CamVid of one colour.
  void camvid(const std::string& frame, const data::Rgb& colour, int height = 720) const {
    data::Image image(height, 960, 3), colours(height, 960, 3);
    for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i % 251);
    for (size_t i = 0; i < colours.pixels.size(); ++i) colours.pixels[i] = colour[i % 3];
    data::write_png(at("camvid/701_StillsRaw_full/" + frame + ".png"), image);
    data::write_png(at("camvid/LabeledApproved_full/" + frame + "_L.png"), colours);
  }
  void config(const std::string& text) const { write("c.toml", "[data]\n" + text); }
};

const data::Rgb kTruck{192, 128, 192}, kRoad{128, 64, 128}, kNone{1, 2, 3};
}  // namespace

TEST_CASE_FIXTURE(Folder, "segdata camvid: by split, idempotent, strict if asked") {
  camvid("0001TP_006690", kRoad);
  camvid("0016E5_07959", kTruck);
  camvid("0016E5_07961", kNone);
  const test::Outcome first = (*this)("segdata camvid camvid -o out --threads 2");
  CAPTURE(first.output);
  CHECK(first.code == 0);
  CHECK(first.says("segdata: warning: train: 1 frames; CamVid has 367\n"));
  CHECK(first.says("train: 1 label maps written, 0 up to date, 0 failed; 1 images placed, 0 there before\n"));
  CHECK(first.says("val: 2 label maps written, 0 up to date, 0 failed; 2 images placed, 0 there before\n"));
  CHECK((*this)("segdata camvid camvid -o out")
            .says("val: 0 label maps written, 2 up to date, 0 failed; 0 images placed, 2 there before\n"));
  CHECK(data::read_label(at("out/TrainID/train/0001TP_006690_L_TrainID.png")).pixels[7] == 3);
  CHECK(data::read_label(at("out/TrainID/val/0016E5_07959_L_TrainID.png")).pixels[7] == 255);
  CHECK((*this)("segdata camvid camvid -o groups --classes segnet").code == 0);
  CHECK(data::read_label(at("groups/TrainID/val/0016E5_07959_L_TrainID.png")).pixels[7] == 8);
  const test::Outcome strict = (*this)("segdata camvid camvid -o strict --strict --copy");
  CAPTURE(strict.output);
  CHECK(strict.code == 1);
  CHECK(strict.says("0016E5_07961_L.png: colour (1, 2, 3) at row 0, column 0 is none of CamVid's 32\n"));
  CHECK(strict.says("val: 1 label maps written, 0 up to date, 1 failed; 2 images placed"));
  CHECK(strict.says("segdata: error: camvid: 1 files could not be made"));
  camvid("0016E5_07963", kRoad, 90);
  CHECK((*this)("segdata camvid camvid -o out").says("is 960x90, but CamVid is 960x720 (width x height)"));
  CHECK((*this)("segdata camvid camvid -o out --any-size").code == 0);
  CHECK((*this)("segdata camvid camvid -o all --split test").code == 1);  // the small one
  CHECK(fs::exists(at("all/TrainID/test/0001TP_006690_L_TrainID.png")));
  CHECK((*this)("segdata camvid nowhere").says("nowhere/701_StillsRaw_full: no such folder"));
  CHECK((*this)("segdata camvid camvid --classes 12").code == 2);
}

TEST_CASE_FIXTURE(Folder, "segdata check and cache: every problem a line, and samples from the cache") {
  camvid("0001TP_006690", kRoad);
  camvid("0001TP_006720", kTruck);
  camvid("0016E5_07959", kRoad);
  REQUIRE((*this)("segdata camvid camvid -o out").code == 0);
  config("kind = \"camvid\"\nroot = \"out\"\n");
  const test::Outcome good = (*this)("segdata check c.toml");
  CAPTURE(good.output);
  CHECK(good.code == 0);
  CHECK(good.says("camvid/train: 2 samples read, 0 problems\n"));
  CHECK(good.says("    3  Road                             691200   50.000%\n"));
  CHECK(good.says("  255  ignored                          691200   50.000%\n"));
  CHECK(good.says("camvid/val: 1 samples read, 0 problems\n"));

  const test::Outcome made = (*this)("segdata cache c.toml -o cache");
  CAPTURE(made.output);
  CHECK(made.code == 0);
  CHECK(made.says("camvid/train: 2 samples, 5.5 MB, written -> cache/camvid_train.segcache\n"));
  CHECK((*this)("segdata cache c.toml --set data.cache=cache").says("camvid/val: 1 samples, 2.8 MB, up to date"));
  CHECK((*this)("segdata cache c.toml -o cache --verify").says("camvid/train: 2 samples, 0 damaged"));
  // What a program sees of the dataset is the same through the cache.
  const std::string plain = (*this)("segdata info c.toml").output;
  CHECK((*this)("segdata info c.toml --set data.cache=cache").output == plain);
  CHECK((*this)("segdata info c.toml --set data.cache=caches").says("data.cache: expected a folder"));
  CHECK((*this)("segdata cache c.toml").says("name the folder for it with -o"));
  {
    std::fstream file(at("cache/camvid_train.segcache"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100'000);
    file.put('x');
  }
  const test::Outcome damaged = (*this)("segdata cache c.toml -o cache --verify");
  CAPTURE(damaged.output);
  CHECK(damaged.code == 1);
  CHECK(damaged.says("images/train/0001TP_006690.png: the image is damaged\n"));
  CHECK((*this)("segdata cache c.toml -o cache --force").code == 0);
  CHECK((*this)("segdata cache c.toml -o cache --verify").code == 0);

  // Missing, cut, of another size and of no class: four lines.
  fs::remove(at("out/images/val/0016E5_07959.png"));
  camvid("0016E5_07961", kRoad);
  REQUIRE((*this)("segdata camvid camvid -o more").code == 0);
  fs::copy(at("more/images/val/0016E5_07961.png"), at("out/images/val/0016E5_07961.png"));
  const std::string bytes = test::read_file(at("out/TrainID/train/0001TP_006690_L_TrainID.png"));
  write("out/TrainID/train/0001TP_006690_L_TrainID.png", bytes.substr(0, bytes.size() - 5));
  data::Image label(720, 960, 1);
  label.pixels[961] = 11;
  data::write_png(at("out/TrainID/train/0001TP_006720_L_TrainID.png"), label);
  const test::Outcome bad = (*this)("segdata check c.toml --split train --no-histogram");
  CAPTURE(bad.output);
  CHECK(bad.code == 1);
  CHECK(bad.output ==
        "out/TrainID/train/0001TP_006690_L_TrainID.png: truncated PNG: the file ends before the end of the image\n"
        "out/TrainID/train/0001TP_006720_L_TrainID.png: label value 11 at row 1, column 1 is neither a class (0..10) "
        "nor the ignore index 255\n"
        "camvid/train: 2 samples read, 2 problems\n");
  const test::Outcome unpaired = (*this)("segdata check c.toml --split val");
  CAPTURE(unpaired.output);
  CHECK(unpaired.code == 1);
  CHECK(unpaired.says("out/TrainID/val/0016E5_07959_L_TrainID.png: label map without an image"));
  CHECK(unpaired.says("out/images/val/0016E5_07961.png: image without a label map"));
  CHECK(unpaired.says("camvid/val: 0 samples read, 2 problems\n"));
  CHECK((*this)("segdata check c.toml --split test").says("out/images/test: no such folder\n"));
  CHECK((*this)("segdata info c.toml --set data.cache=cache").says("made before out/images/train/0001TP_006690.png"));
  CHECK((*this)("segdata check c.toml --set data.rooot=x").says("data.rooot is not a known key"));
}

TEST_CASE_FIXTURE(Folder, "segdata coco_stuff10k and coco_stuff164k") {
  const std::string photo = test::read_file(test::golden_folder() / "images/photo.jpg");
  const data::Image image = data::read_image(test::golden_folder() / "images/photo.jpg");
  const auto pixels = static_cast<size_t>(image.height) * static_cast<size_t>(image.width);
  for (const char* name : {"a", "b", "c"}) {
    write(std::string("ten/images/") + name + ".jpg", photo);
    write(std::string("ten/annotations/") + name + ".mat",
          test::mat_file({test::mat_labels(static_cast<uint32_t>(image.height), static_cast<uint32_t>(image.width),
                                           std::vector<uint8_t>(pixels, 182), name[0] == 'b')}));
  }
  write("ten/imageLists/train.txt", "b\na\n");
  write("ten/imageLists/test.txt", "c\n");
  const test::Outcome ten = (*this)("segdata coco_stuff10k ten");
  CAPTURE(ten.output);
  if (!data::can_read_coco_stuff_mat()) {
    CHECK(ten.code == 1);
    CHECK(ten.says("libmatio"));
  } else {
    CHECK(ten.code == 0);
    CHECK(ten.says("segdata: warning: train2014: 2 images; the published data set has 9000\n"));
    CHECK(ten.says("test2014: 1 label maps written, 0 up to date, 0 failed; 1 images placed, 0 there before\n"));
    config("kind = \"coco_stuff10k\"\nroot = \"ten\"\n");
    CHECK((*this)("segdata check c.toml").says("  170  wood "));
    const test::Outcome strict = (*this)("segdata coco_stuff10k ten --strict");
    CHECK(strict.code == 1);
    CHECK(strict.says("not the whole data set, and --strict was given; nothing was converted"));
    write("ten/annotations/c.mat", "cut");
    CHECK((*this)("segdata coco_stuff10k ten").says("ten/annotations/c.mat: not a MATLAB 5 file"));
  }
  write("all/images/val2017/1.jpg", photo);
  data::Image raw(image.height, image.width, 1);
  raw.pixels.assign(pixels, 181);
  data::write_png(at("all/annotations/val2017/1.png"), raw);
  const test::Outcome all = (*this)("segdata coco_stuff164k all -o made");
  CAPTURE(all.output);
  CHECK(all.code == 0);
  CHECK(all.says("val2017: 1 label maps written"));
  CHECK(data::read_label(at("made/annotations/val2017/1_labelTrainIds.png")).pixels[0] == 170);
  config("kind = \"coco_stuff164k\"\nroot = \"made\"\n");
  CHECK((*this)("segdata check c.toml --split val").code == 0);
  CHECK((*this)("segdata check c.toml --split test").says("there is no split \"test\""));
}
