// Classifiers as a user trains and asks them, on tiny pictures of shapes; statistics of data folders.
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "data/image.h"
#include "tests/apps/program.h"

namespace {
using namespace segrt;
namespace fs = std::filesystem;

constexpr const char* kConfig = R"([model]
name = "drn_d_22"
task = "classification"
classes = 4
pool_size = 2
[data]
kind = "synthetic_shapes"
height = 20
width = 20
shapes = 2
textures = 2
train_size = 10
val_size = 6
crop = 16
workers = 1
[train]
epochs = 2
batch = 4
lr = 0.001
log_every = 1
[eval]
scale_size = 18
crop_size = 16
)";

struct Fixture {
  test::WorkFolder folder;
  Fixture() { write("shapes.toml", kConfig); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(folder.path() / name) << text; }
  nlohmann::json json(const std::string& name) const {
    return nlohmann::json::parse(std::ifstream(folder.path() / name));
  }
  test::Outcome operator()(const std::string& command) const { return test::run(command, folder.path()); }
};

data::Image picture(int height, int width, int step) {
  data::Image image(height, width, 3);
  for (size_t i = 0; i < image.pixels.size(); ++i)
    image.pixels[i] = static_cast<uint8_t>(i * static_cast<size_t>(step) % 251);
  return image;
}

// The lines of the first classes, without the rest.
std::string classes_of(const std::string& output) {
  std::string lines;
  for (size_t at = 0; at < output.size();) {
    const size_t end = output.find('\n', at);
    const std::string line = output.substr(at, end - at);
    if (line.starts_with("  0.") || line.starts_with("  1."))
      lines += line.substr(9) + '\n';  // without the probability: its last digit may differ
    at = end + 1;
  }
  return lines;
}
}  // namespace

TEST_CASE_FIXTURE(Fixture, "a classifier is trained, scored, asked, and shows what it looked at") {
  const test::Outcome trained = (*this)("segtrain shapes.toml -o run --device cpu");
  CAPTURE(trained.output);
  REQUIRE(trained.code == 0);
  CHECK(trained.says("finished after 6 steps"));  // of batches of 4, 4 and 2
  CHECK(trained.says("best top1"));

  const test::Outcome scored = (*this)("segeval run --device cpu --json s.json");
  CAPTURE(scored.output);
  REQUIRE(scored.code == 0);
  CHECK(scored.says("top-5 100.00 %"));
  CHECK(scored.says("at random: top-1 25.00 %"));
  const nlohmann::json scores = json("s.json");
  CHECK(scores["images"] == 6);
  CHECK(scores["classes"].size() == 4);
  CHECK(scores["classes"][1]["name"] == "disc striped");
  int correct = 0;
  for (const nlohmann::json& c : scores["classes"]) correct += c["correct"].get<int>();
  CHECK(scores["top1"].get<double>() == doctest::Approx(100.0 * correct / 6));
  CHECK(scores["top1_error"].get<double>() == doctest::Approx(100 - scores["top1"].get<double>()));
  CHECK((*this)("segeval run --device cpu --limit 5").says("5 images in"));
  for (const std::string option : {"--ms", "--flip", "--save-predictions p", "--save-overlays p"}) {
    const test::Outcome refused = (*this)("segeval run --device cpu " + option);
    CAPTURE(refused.output);
    CHECK(refused.code == 1);
    CHECK(refused.says(option.substr(0, option.find(' ')) + ": for segmentation networks; drn_d_22 is a classifier"));
  }
  CHECK((*this)("segeval run --device cpu --routing r.png").says("--routing"));

  data::write_png(folder.path() / "a.png", picture(33, 47, 31));
  data::write_png(folder.path() / "grey.png", data::Image(20, 30, 1));  // as RGB here
  const test::Outcome asked = (*this)("segpredict run a.png grey.png --device cpu");
  CAPTURE(asked.output);
  REQUIRE(asked.code == 0);
  CHECK(asked.says("a.png\n  "));
  CHECK(asked.says("square striped"));
  const test::Outcome shown = (*this)("segpredict run a.png grey.png --cam -o out --device cpu");
  CAPTURE(shown.output);
  REQUIRE(shown.code == 0);
  CHECK(classes_of(shown.output) == classes_of(asked.output));
  CHECK(shown.says("-> out/a_cam.png: where it sees "));
  CHECK(data::read_image(folder.path() / "out/a_cam.png").width == 47);
  CHECK(data::read_image(folder.path() / "out/grey_cam.png").height == 20);
  const test::Outcome named = (*this)("segpredict run a.png --cam-class 'disc striped' -o named --device cpu");
  CHECK(named.says("where it sees disc striped"));
  CHECK((*this)("segpredict run a.png --cam-class 1 -o numbered --device cpu").code == 0);
  CHECK(data::read_image(folder.path() / "named/a_cam.png") == data::read_image(folder.path() / "numbered/a_cam.png"));

  const auto refusal = [&](const std::string& arguments) {
    const test::Outcome outcome = (*this)("segpredict run " + arguments + " --device cpu");
    CHECK(outcome.code == 1);
    return outcome.output;
  };
  CHECK(refusal("a.png --cam").find("-o DIR") != std::string::npos);
  CHECK(refusal("a.png --cam-class 4 -o x").find("an index 0..3, got \"4\"") != std::string::npos);
  CHECK(refusal("a.png --ms").find("--ms: for segmentation networks") != std::string::npos);
  CHECK(refusal("missing.png").find("missing.png: no such file") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture,
                  "class activation maps of networks without them, and classifiers on other data, are refused") {
  std::string routing(kConfig);
  routing.replace(routing.find("drn_d_22"), 8, "dynamic_raw_l16");
  routing.replace(routing.find("pool_size = 2"), 13,
                  "layers = 3\nwidth = 8\nflops_size = [32, 32]\nflops_size_eval = [32, 32]");
  routing.replace(routing.find("crop = 16"), 9, "crop = 32");
  routing.replace(routing.find("scale_size = 18\ncrop_size = 16"), 31, "scale_size = 32\ncrop_size = 32");
  write("routing.toml", routing);
  const test::Outcome trained = (*this)("segtrain routing.toml -o run --device cpu --set train.epochs=1");
  CAPTURE(trained.output);
  REQUIRE(trained.code == 0);
  data::write_png(folder.path() / "a.png", picture(33, 47, 31));
  const test::Outcome scored = (*this)("segeval run --device cpu --routing r.png");
  CAPTURE(scored.output);
  CHECK(scored.code == 0);
  CHECK(fs::exists(folder.path() / "r.png"));
  const test::Outcome cam = (*this)("segpredict run a.png --cam -o out --device cpu");
  CAPTURE(cam.output);
  CHECK(cam.code == 1);
  CHECK(cam.says("--cam: class activation maps need a DRN classifier of family C or D: this is dynamic_raw_l16"));
  CHECK((*this)("segtrain routing.toml -o bad --device cpu --set eval.crop_size=24").says("multiples of 32"));

  write(
      "streets.toml",
      "[model]\nname = \"drn_d_22\"\ntask = \"classification\"\nclasses = 19\n[data]\nkind = \"synthetic\"\ncrop = 16\n"
      "[train]\nepochs = 1\nbatch = 1\n");
  const test::Outcome streets = (*this)("segtrain streets.toml -o bad --device cpu");
  CHECK(streets.code == 1);
  CHECK(streets.says("data.kind: expected a dataset of images with one class each"));
  const test::Outcome small = (*this)("segtrain shapes.toml -o bad --device cpu --set model.pool_size=1");
  CHECK(small.code == 1);
  CHECK(small.says("one score a class is expected of an image, [N,1,1,4], got [4,2,2,4]"));
}

TEST_CASE_FIXTURE(Fixture, "folders of classes: statistics, training, and what is wrong with them") {
  for (const std::string split : {"train", "val"})
    for (int i = 0; i < 4; ++i) {
      const std::string cls = i % 2 == 0 ? "cat" : "dog";
      data::write_png(folder.path() / "pets" / split / cls / (std::to_string(i) + ".png"), picture(20 + i, 24, 3 + i));
    }
  write("pets.toml",
        "[model]\nname = \"drn_d_22\"\ntask = \"classification\"\nclasses = 2\npool_size = 2\n[data]\nkind = "
        "\"image_folder\"\n"
        "root = \"pets\"\ncrop = 16\nworkers = 1\n[train]\nepochs = 1\nbatch = 3\nlr = 0.001\n[eval]\nscale_size = 18\n"
        "crop_size = 16\n");
  const test::Outcome stats = (*this)("segdata stats pets.toml -o pets/info.json");
  CAPTURE(stats.output);
  REQUIRE(stats.code == 0);
  CHECK(stats.says("pets/train (train): 4 of 4 images read"));
  CHECK(stats.says("    1  dog                             2"));
  const nlohmann::json info = json("pets/info.json");
  CHECK(info["images_measured"] == 4);
  CHECK(info["classes"][0] == nlohmann::json{{"id", 0}, {"name", "cat"}, {"share", 0.5}, {"images", 2}});
  const test::Outcome in_use = (*this)("segdata info pets.toml");
  const size_t measured = in_use.output.find("measured "), used = in_use.output.find("in use ");
  REQUIRE(measured != std::string::npos);
  CHECK(in_use.output.substr(measured + 13, 51) == in_use.output.substr(used + 13, 51));

  const test::Outcome again = (*this)("segdata stats pets.toml -o pets/info.json");
  CHECK(again.code == 1);
  CHECK(again.says("pets/info.json: exists already; add --force"));
  CHECK((*this)("segdata stats pets.toml -o pets/info.json --force --sample 2 --seed 3").code == 0);
  CHECK(json("pets/info.json")["images_measured"] == 2);
  CHECK((*this)("segdata stats pets.toml -o x.json --sample 2 --limit 2").code == 2);
  CHECK((*this)("segdata stats pets.toml -o nowhere/x.json").says("nowhere/x.json: cannot write"));

  const test::Outcome trained = (*this)("segtrain pets.toml -o run --device cpu");
  CAPTURE(trained.output);
  CHECK(trained.code == 0);
  // Weights without a card of their own, and no data at hand.
  const test::Outcome bare = (*this)(
      "segpredict run/checkpoints/best.safetensors pets/val/cat/0.png --config pets.toml --set data.root=gone --device "
      "cpu");
  CAPTURE(bare.output);
  CHECK(bare.code == 0);
  CHECK(bare.says("class 1"));
  fs::remove_all(folder.path() / "pets/val/dog");
  CHECK((*this)("segtrain pets.toml -o bad --device cpu").says("pets/val: lacks the class dog, which pets/train has"));
}

TEST_CASE_FIXTURE(Fixture, "segdata stats makes the info.json that a new list folder lacks") {
  fs::create_directories(folder.path() / "photos");
  write("photos/classes.json", R"({"classes": [{"name": "a"}, {"name": "b"}], "ignore_label": 255})");
  write("photos/train_images.txt", "a.png\nb.png\n");
  write("photos/train_labels.txt", "a_label.png\nb_label.png\n");
  for (const std::string name : {"a", "b"}) {
    data::Image image(4, 5, 3), label(4, 5, 1);
    image.pixels.assign(60, name == "a" ? uint8_t{0} : uint8_t{51});
    label.pixels.assign(20, name == "a" ? uint8_t{0} : uint8_t{255});
    label.pixels[0] = 1;
    data::write_png(folder.path() / ("photos/" + name + ".png"), image);
    data::write_png(folder.path() / ("photos/" + name + "_label.png"), label);
  }
  write("photos.toml", "[data]\nkind = \"list_folder\"\nroot = \"photos\"\n");
  CHECK((*this)("segdata info photos.toml").says("photos/info.json: no such file"));
  const test::Outcome stats = (*this)("segdata stats photos.toml -o photos/info.json");
  CAPTURE(stats.output);
  REQUIRE(stats.code == 0);
  const nlohmann::json info = json("photos/info.json");
  CHECK(info["mean"][1].get<double>() == doctest::Approx(0.1));
  CHECK(info["std"][2].get<double>() == doctest::Approx(0.1));
  CHECK(info["ignored_pixels"] == 19);
  CHECK(info["classes"][0] ==
        nlohmann::json{{"id", 0}, {"name", "a"}, {"pixels", 19}, {"share", 19.0 / 21}, {"images", 1}});
  CHECK(info["classes"][1]["pixels"] == 2);
  CHECK((*this)("segdata info photos.toml").says("in use       mean 0.1000 0.1000 0.1000  std 0.1000 0.1000 0.1000\n"));
  const test::Outcome flat = (*this)("segdata stats photos.toml -o flat.json --limit 1");
  CHECK(flat.code == 1);
  CHECK(flat.says("nothing to normalise by"));
  CHECK(!fs::exists(folder.path() / "flat.json"));
}
