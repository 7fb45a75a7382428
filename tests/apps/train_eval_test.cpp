// Train, stop, resume, evaluate, predict: whole programs on tiny synthetic scenes.
#include <doctest/doctest.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/safetensors.h"
#include "data/image.h"
#include "data/label_table.h"
#include "tests/apps/program.h"

namespace {
using namespace segrt;
using test::run;
namespace fs = std::filesystem;

constexpr const char* kConfig = R"([model]
name = "drn_d_22"
classes = 19
[data]
kind = "synthetic"
height = 40
width = 64
train_size = 12
val_size = 2
crop = [32, 48]
workers = 2
[train]
epochs = 3
batch = 2
lr = 0.01
schedule_per = "iteration"
log_every = 2
keep = 2
[eval]
scales = [1.0, 0.75]
)";

struct Fixture {
  test::WorkFolder folder;
  Fixture() { write("tiny.toml", kConfig); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(folder.path() / name) << text; }
  test::Outcome operator()(const std::string& command) const { return run(command, folder.path()); }
};

// Whether two checkpoints hold the same tensors, bit for bit.
bool equal_tensors(const fs::path& a, const fs::path& b) {
  const SafetensorsFile x(a.string()), y(b.string());
  if (x.entries().size() != y.entries().size()) return false;
  for (const SafetensorsEntry& e : x.entries()) {
    const auto p = x.bytes(e.name), q = y.bytes(e.name);
    if (!std::equal(p.begin(), p.end(), q.begin(), q.end())) {
      MESSAGE("differs: " << e.name);
      return false;
    }
  }
  return true;
}
}  // namespace

TEST_CASE_FIXTURE(Fixture, "a run that is stopped and resumed ends bit for bit where an uninterrupted one ends") {
  const test::Outcome whole = (*this)("segtrain tiny.toml -o whole --device cpu");
  CAPTURE(whole.output);
  REQUIRE(whole.code == 0);
  CHECK(whole.says("finished after 18 steps"));
  CHECK(fs::exists(folder.path() / "whole/log.jsonl"));
  CHECK(fs::exists(folder.path() / "whole/checkpoints/best.safetensors"));

  // SIGTERM from outside, at whatever step the run has reached; exit code 143 after a checkpoint, then on to the end.
  const fs::path part = folder.path() / "part";
  test::RunningProgram training(
      "segtrain tiny.toml --device cpu -o " + part.string() + " --set train.log_every=1 --set train.keep=3",
      folder.path());
  for (int i = 0; i < 6000 && !fs::exists(part / "checkpoints/latest.safetensors"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  training.signal(SIGTERM);
  const test::Outcome stopped = training.wait();
  CAPTURE(stopped.output);
  CHECK(stopped.code == 143);
  CHECK(stopped.says("--resume"));
  const test::Outcome refused = (*this)("segtrain tiny.toml --device cpu -o " + part.string());
  CHECK(refused.code == 1);
  CHECK(refused.says("holds a run already"));
  const test::Outcome resumed = (*this)("segtrain tiny.toml --device cpu --resume -o " + part.string());
  CAPTURE(resumed.output);
  CHECK(resumed.code == 0);
  CHECK(resumed.says("resumed at epoch"));
  CHECK(equal_tensors(folder.path() / "whole/checkpoints/step_00000018.safetensors",
                      part / "checkpoints/step_00000018.safetensors"));

  SUBCASE("export to ONNX") {  // tests/onnx compares what such files compute
    const test::Outcome exported =
        (*this)("segmodel export-onnx whole net.onnx --input 1x40x64 --free-batch --maps labels");
    CAPTURE(exported.output);
    if (exported.says("this build has no ONNX")) return;
    CHECK(exported.code == 0);
    CHECK(fs::file_size(folder.path() / "net.onnx") > 60'000'000);  // 15.9 M parameters
    const test::Outcome lost = (*this)("segmodel export-onnx whole nowhere/net.onnx --input 1x40x64");
    CHECK(lost.code == 1);
    CHECK(lost.says("nowhere/net.onnx"));
    const test::Outcome unsized = (*this)("segmodel export-onnx whole net.onnx --input 40x64");
    CHECK(unsized.code == 1);
    CHECK(unsized.says("--input"));
  }
  SUBCASE("evaluate") {
    const test::Outcome plain =
        (*this)("segeval whole --device cpu --json plain.json --save-predictions predictions --save-colours colours");
    CAPTURE(plain.output);
    CHECK(plain.code == 0);
    CHECK(plain.says("mIoU"));
    const nlohmann::json scores = nlohmann::json::parse(std::ifstream(folder.path() / "plain.json"));
    CHECK(scores["images"] == 2);
    CHECK(scores["classes"].size() == 19);
    size_t pictures = 0;
    for (const auto& entry : fs::recursive_directory_iterator(folder.path() / "predictions"))
      if (entry.is_regular_file()) {
        ++pictures;
        const data::Image label = data::read_label(entry.path());
        CHECK(label.height == 40);
        CHECK(label.width == 64);
        for (const uint8_t v : label.pixels) REQUIRE(v < 19);
        const data::Image colours =
            data::read_image(folder.path() / "colours" / fs::relative(entry.path(), folder.path() / "predictions"));
        CHECK(colours.pixels == data::colourise(label, data::cityscapes_labels()).pixels);
      }
    CHECK(pictures == 2);
    const test::Outcome full = (*this)("segeval whole/checkpoints/best.safetensors --device cpu --ms --flip --limit 1");
    CAPTURE(full.output);
    CHECK(full.code == 0);
    CHECK(full.says("multi-scale, mirrored"));
    CHECK((*this)("segeval --device cpu").code == 1);  // no runs/ here
  }
  SUBCASE("predict") {
    data::Image photo(33, 47, 3);
    for (size_t i = 0; i < photo.pixels.size(); ++i) photo.pixels[i] = static_cast<uint8_t>(i * 31 % 251);
    data::write_png(folder.path() / "photo.png", photo);
    const test::Outcome predicted = (*this)("segpredict whole photo.png -o pictures --device cpu");
    CAPTURE(predicted.output);
    CHECK(predicted.code == 0);
    CHECK(data::read_image(folder.path() / "pictures/photo_color.png").width == 47);
    CHECK(data::read_image(folder.path() / "pictures/photo_overlay.png").height == 33);
    write("broken.png", "not a picture");
    const test::Outcome broken = (*this)("segpredict whole broken.png -o pictures --device cpu");
    CHECK(broken.code == 1);
    CHECK(broken.says("broken.png"));
  }
}

TEST_CASE_FIXTURE(Fixture, "wrong settings are named with file, line and key") {
  struct Case {
    const char *arguments, *message;
  };
  for (const Case& c :
       {Case{"--set train.lrr=0.1", "did you mean train.lr?"},
        Case{"--set train.lr=fast", "train.lr: expected a number"}, Case{"--set data.crop=33", "multiples of 8"},
        Case{"--set model.classes=7", "model.classes"}, Case{"--set model.name=drn_x", "model.name"},
        Case{"--device cuda:99", "cuda"}, Case{"--device tpu", "device"}}) {
    const test::Outcome outcome = (*this)(std::string("segtrain tiny.toml -o bad ") + c.arguments);
    CAPTURE(outcome.output);
    CHECK(outcome.code == 1);
    CHECK(outcome.says(c.message));
    CHECK_FALSE(fs::exists(folder.path() / "bad"));
  }
  write("typo.toml", std::string(kConfig) + "[train2]\nlr = 1\n");
  CHECK((*this)("segtrain typo.toml -o bad").says("typo.toml:21"));
  CHECK((*this)("segtrain nowhere.toml").says("nowhere.toml"));
  CHECK((*this)("segtrain").code == 2);
  CHECK((*this)("segtrain --help").code == 0);
  CHECK((*this)("segeval nowhere").says("nowhere"));
}

TEST_CASE_FIXTURE(Fixture, "data that is missing or broken is named") {
  write("folder.toml",
        "[model]\nname = \"drn_d_22\"\nclasses = 2\n[data]\nkind = \"list_folder\"\nroot = \"photos\"\ncrop = "
        "16\nworkers = 1\n"
        "[train]\nepochs = 1\nbatch = 1\n");
  CHECK((*this)("segtrain folder.toml -o out --device cpu").says("photos"));
  fs::create_directories(folder.path() / "photos");
  write("photos/info.json", R"({"mean": [0.5,0.5,0.5], "std": [0.2,0.2,0.2]})");
  write(
      "photos/classes.json",
      R"({"classes": [{"id": 0, "name": "a", "color": [1,2,3]}, {"id": 1, "name": "b", "color": [4,5,6]}], "ignore_label": 255})");
  for (const char* phase : {"train", "val"}) {
    write(std::string("photos/") + phase + "_images.txt", "a.png\n");
    write(std::string("photos/") + phase + "_labels.txt", "a_label.png\n");
  }
  data::write_png(folder.path() / "photos/a.png", data::Image(24, 24, 3));
  data::Image label(24, 24, 1);
  label.pixels[5] = 7;
  data::write_png(folder.path() / "photos/a_label.png", label);
  const test::Outcome bad_label = (*this)("segtrain folder.toml -o out1 --device cpu");
  CAPTURE(bad_label.output);
  CHECK(bad_label.code == 1);
  CHECK(bad_label.says("a_label.png"));
  CHECK(bad_label.says("7"));
  label.pixels[5] = 1;
  data::write_png(folder.path() / "photos/a_label.png", label);
  write("photos/a.png", "garbage");
  const test::Outcome garbage = (*this)("segtrain folder.toml -o out2 --device cpu");
  CHECK(garbage.code == 1);
  CHECK(garbage.says("a.png"));
  data::write_png(folder.path() / "photos/a.png", data::Image(24, 24, 3));
  const test::Outcome good = (*this)("segtrain folder.toml -o out3 --device cpu");
  CAPTURE(good.output);
  CHECK(good.code == 0);
  write("file", "");
  const test::Outcome unwritable = (*this)("segtrain folder.toml -o file/run --device cpu");
  CHECK(unwritable.code == 1);
  CHECK(unwritable.says("file/run"));
}

TEST_CASE_FIXTURE(Fixture, "a loss that is not finite stops the run and names step and tensor") {
  const test::Outcome outcome = (*this)("segtrain tiny.toml -o hot --device cpu --set train.lr=1e30");
  CAPTURE(outcome.output);
  CHECK(outcome.code == 1);
  CHECK(outcome.says("the loss of step"));
}

TEST_CASE_FIXTURE(Fixture, "iterations, renewed statistics, and logits averaged over sizes by the shortest edge") {
  std::string text(kConfig);
  text.replace(text.find("epochs = 3"), 10,
               "iterations = 3\nprecise_bn_batches = 1\nno_decay = [\"bn1.weight\"]\nlr_factors = { seg = 2.5 }");
  text.replace(text.find("scales"), std::string::npos,
               "average = \"logits\"\nresize = \"shortest_edge\"\nbase_shortest_edge = 48\nsizes = [32, 48]\n");
  write("steps.toml", text + "[validate]\nevery = 0\n");
  const test::Outcome trained = (*this)("segtrain steps.toml -o steps --device cpu");
  CAPTURE(trained.output);
  REQUIRE(trained.code == 0);
  CHECK(trained.says("finished after 3 steps"));
  CHECK(trained.says("running statistics of 25 batch norms from 1 batches"));
  const test::Outcome scored = (*this)("segeval steps --device cpu --ms --flip --json s.json --save-predictions p");
  CAPTURE(scored.output);
  CHECK(scored.code == 0);
  const nlohmann::json json = nlohmann::json::parse(std::ifstream(folder.path() / "s.json"));
  CHECK(json["images"] == 2);
  CHECK(json["measured"].empty());
  const test::Outcome mixed = (*this)("segeval steps --device cpu --set eval.scales=[1.0]");
  CHECK(mixed.code == 1);
  CHECK(mixed.says("eval.scales: expected no such key with eval.resize = \"shortest_edge\""));
}

TEST_CASE_FIXTURE(
    Fixture, "scaled, cropped and distorted training, scored every two steps; windows and averaged probabilities") {
  std::string text(kConfig);
  text.replace(text.find("crop ="), 4, "augment = \"scale_crop_distort\"\nbase_size = [40, 64]\ncrop");
  text.replace(text.find("epochs = 3"), 10, "iterations = 4");
  text.replace(text.find("scales"), 6,
               "average = \"probabilities\"\nresize = \"base_size\"\nbase_size = [48, 77]\nwindow = [32, 48]\n"
               "window_stride = [16, 32]\nscales");
  write("windows.toml", text + "[validate]\nevery_steps = 2\n");
  const test::Outcome trained = (*this)("segtrain windows.toml -o windows --device cpu");
  CAPTURE(trained.output);
  REQUIRE(trained.code == 0);
  std::vector<int64_t> validated;
  std::ifstream log(folder.path() / "windows/log.jsonl");
  for (std::string line; std::getline(log, line);)
    if (const nlohmann::json entry = nlohmann::json::parse(line); entry.contains("miou"))
      validated.push_back(entry["step"].get<int64_t>());
  CHECK(validated == std::vector<int64_t>{2, 4});
  const test::Outcome scored = (*this)("segeval windows --device cpu --flip --json w.json");
  CAPTURE(scored.output);
  CHECK(scored.code == 0);
  CHECK(nlohmann::json::parse(std::ifstream(folder.path() / "w.json"))["images"] == 2);
  const test::Outcome sparse = (*this)("segeval windows --device cpu --set eval.window_stride=64");
  CHECK(sparse.code == 1);
  CHECK(sparse.says("eval.window_stride: expected at most the sides of eval.window"));
}

TEST_CASE_FIXTURE(Fixture, "summary and bench") {
  const test::Outcome summary = (*this)("segmodel summary tiny.toml --input 1x1024x2048");
  CAPTURE(summary.output);
  CHECK(summary.code == 0);
  CHECK(summary.says("15895363"));      // published parameter count
  CHECK(summary.says("545074970624"));  // published: 545.07 G multiply-adds
  const test::Outcome state = (*this)("segmodel state tiny.toml");
  CHECK(state.code == 0);
  CHECK(state.says("base.0.0.weight f32 [16,3,7,7]\n"));
  CHECK(state.says("base.0.1.num_batches_tracked i64 [] buffer\n"));
  const test::Outcome bench =
      (*this)("segbench tiny.toml --mode train --input 1x32x32 --repeat 3 --warmup 1 --json b.json --device cpu");
  CAPTURE(bench.output);
  CHECK(bench.code == 0);
  const nlohmann::json json = nlohmann::json::parse(std::ifstream(folder.path() / "b.json"));
  for (const char* key : {"median_ms", "min_ms", "p95_ms", "images_per_s", "peak_bytes"})
    CHECK(json[key].get<double>() > 0);
  CHECK(json["min_ms"].get<double>() <= json["median_ms"].get<double>());
  CHECK(json["median_ms"].get<double>() <= json["p95_ms"].get<double>());
  CHECK((*this)("segbench tiny.toml --input 1x32").code == 1);
}
