// Classifiers in training and evaluation, against formulas written out here.
#include "train/classification.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/synthetic_shapes.h"
#include "tests/core/temporary_folder.h"
#include "tests/support/run_files.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_classifier.h"
#include "train/network_loss.h"
#include "train/photo_classifier.h"
#include "train/trainer.h"

namespace {
using namespace segrt;
using train::ClassificationScores;
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Four easy classes, and 22 pictures in batches of four: the last one has two.
constexpr const char* kConfig = R"([model]
name = "tiny"
task = "classification"
classes = 4
[data]
kind = "synthetic_shapes"
height = 20
width = 20
shapes = 2
textures = 2
train_size = 22
val_size = 10
crop = 16
workers = 1
[train]
epochs = 2
batch = 4
lr = 0.05
schedule = "step"
lr_step = 1
keep = 20
checkpoint_every_steps = 1
log_every = 1
[eval]
scale_size = 18
crop_size = 16
)";

struct Run {
  explicit Run(const std::string& folder, const std::vector<std::string>& overrides = {})
      : directory(folder), config(Config::parse(kConfig, "x.toml", overrides)) {}

  train::Trainer::Outcome operator()(bool resume = false, int stop_after = 0) {
    device = Device::create("cpu");
    train::Trainer trainer(config, *device, directory, [&](const Config& table, nn::Init& init) {
      table.text("name");
      const auto task = models::task_of(table);
      REQUIRE(task == models::Task::classification);
      return std::make_unique<test::TinyClassifier>(table.integer32("classes"), out_map, init);
    });
    if (resume) trainer.resume();
    directory.create(config);
    train::RunLog log({.directory = directory.path(), .quiet = true});
    int steps = 0;
    const auto outcome = trainer.run(log, [&] { return ++steps == stop_after; });
    progress = trainer.progress();
    return outcome;
  }
  std::vector<nlohmann::json> lines(const std::string& kind) const { return test::log_lines(directory.path(), kind); }

  std::unique_ptr<Device> device;
  train::RunDirectory directory;
  Config config;
  train::Progress progress;
  bool out_map = false;
};

// Mean of log sum exp(s) - s[label] over rows of `classes`, in float64.
double cross_entropy(const std::vector<double>& scores, const std::vector<int64_t>& labels, size_t classes) {
  double loss = 0;
  for (size_t n = 0; n < labels.size(); ++n) {
    double sum = 0;
    for (size_t c = 0; c < classes; ++c) sum += std::exp(scores[n * classes + c]);
    loss += std::log(sum) - scores[n * classes + static_cast<size_t>(labels[n])];
  }
  return loss / static_cast<double>(labels.size());
}
}  // namespace

TEST_CASE("top-1, top-5, loss and classes of scores worked out by hand") {
  ClassificationScores s(7);
  s.add(std::vector<float>{0, 1, 2, 3, 4, 5, 6}, 6);  // first
  s.add(std::vector<float>{0, 1, 2, 3, 4, 5, 6}, 2);  // fifth
  s.add(std::vector<float>{0, 1, 2, 3, 4, 5, 6}, 1);  // sixth
  s.add(std::vector<float>{2, 2, 2, 2, 2, 2, 2}, 0);  // equal scores: the lower index is ahead
  s.add(std::vector<float>{2, 2, 2, 2, 2, 2, 2}, 4);
  s.add(std::vector<float>{2, 2, 2, 2, 2, 2, 2}, 5);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  s.add(std::vector<float>{0, nan, 0, 0, 0, 0, 0}, 1);  // a NaN never wins
  s.add(std::vector<float>{9, nan, 0, 0, 0, 0, 0}, 0);
  CHECK(s.images == 8);
  CHECK(s.top1 == 2);
  CHECK(s.top5 == 5);
  CHECK(s.top1_percent() == 25);
  CHECK(s.top5_percent() == 62.5);
  CHECK(s.class_images == std::vector<int64_t>{2, 2, 1, 0, 1, 1, 1});
  CHECK(s.class_correct == std::vector<int64_t>{1, 0, 0, 0, 0, 0, 1});
  CHECK_THROWS_AS(s.add(std::vector<float>(7), 7), ArgumentError);
  CHECK_THROWS_AS(s.add(std::vector<float>(6), 0), ArgumentError);

  ClassificationScores loss(3);
  loss.add(std::vector<float>{1000, 1001, 999}, 0);
  CHECK(loss.mean_loss() == doctest::Approx(std::log(1 + std::exp(1.0) + std::exp(-1.0))));
  CHECK(train::first_classes(std::vector<float>{1, 5, 5, nan, 7}, 4) == std::vector<int64_t>{4, 1, 2, 0});
  CHECK(train::first_classes(std::vector<float>{1, 2}, 5) == std::vector<int64_t>{1, 0});
  const std::vector<double> p = train::softmax(std::vector<float>{1000, 1001});
  CHECK(p[0] == doctest::Approx(1 / (1 + std::exp(1.0))));
  CHECK(p[0] + p[1] == doctest::Approx(1));
}

TEST_CASE("the loss of a classifier is the mean cross-entropy, on every device, and its step the same") {
  const std::vector<int64_t> labels{2, 0, 4, 4, 1};
  std::vector<std::vector<double>> on_cpu;
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    nn::Init init(*device, 3);
    test::TinyClassifier net(5, false, init);
    net.set_training(true);
    const Tensor x = test::random_normal({5, 12, 12, 3}, DType::f32, *device, {.seed = 4});
    const Tensor y = Tensor::from<int64_t>({5}, labels, *device);
    train::NetworkLoss loss = train::network_loss(net, x, y, {.ignore_index = -1});
    const std::vector<double> scores = test::to_doubles(net.forward(x).front().scores.value());
    CHECK(loss.total.value().item() == doctest::Approx(cross_entropy(scores, labels, 5)).epsilon(1e-5));
    train::Sgd sgd(net, {.schedule = {.base = 0.1}, .sgd = {}, .weight_decay = 1e-4});
    backward(loss.total);
    sgd.step();
    std::vector<std::vector<double>> weights;
    net.visit_parameters(
        [&](const std::string&, nn::Parameter& p) { weights.push_back(test::to_doubles(p.var.value())); });
    if (device->is_cpu())
      on_cpu = weights;
    else
      for (size_t k = 0; k < weights.size(); ++k) CHECK(test::max_abs_difference(weights[k], on_cpu[k]) < 2e-5);
  }
  REQUIRE(!on_cpu.empty());
}

TEST_CASE("label 255 is a class like any other among a thousand") {
  const auto device = Device::create("cpu");
  nn::Init init(*device, 1);
  test::TinyClassifier net(300, false, init);
  const Tensor x = test::random_normal({2, 8, 8, 3}, DType::f32, *device, {.seed = 4});
  const std::vector<int64_t> labels{255, 299};
  const auto loss = train::network_loss(net, x, Tensor::from<int64_t>({2}, labels, *device), {.ignore_index = -1});
  const std::vector<double> scores = test::to_doubles(net.forward(x).front().scores.value());
  CHECK(loss.total.value().item() == doctest::Approx(cross_entropy(scores, labels, 300)).epsilon(1e-5));
}

TEST_CASE("a classifier learns shapes, keeps the short batch, and its rate follows the epochs") {
  const TemporaryFolder folder;
  Run run(folder / "run",
          {"data.train_size=402", "data.val_size=80", "train.epochs=5", "train.lr_step=3", "data.crop_area=[0.7,1]",
           "train.checkpoint_every_steps=0", "train.batch=8", "data.height=24", "data.width=24", "data.crop=24",
           "eval.scale_size=24", "eval.crop_size=24"});
  REQUIRE(run() == train::Trainer::Outcome::finished);
  const std::vector<nlohmann::json> steps = run.lines("train");
  REQUIRE(steps.size() == 5 * 51);  // 50 full batches and one of two
  CHECK(steps[3 * 51 - 1]["learning_rate"].get<double>() == doctest::Approx(0.05));
  CHECK(steps[3 * 51]["learning_rate"].get<double>() == doctest::Approx(0.005));
  const std::vector<nlohmann::json> scores = run.lines("val");
  REQUIRE(scores.size() == 5);
  CHECK(scores.back()["top5"] == 100);              // of four classes
  CHECK(scores.back()["top1"].get<double>() > 45);  // four standard deviations above chance
  double best = 0;
  for (const nlohmann::json& line : scores) best = std::max(best, line["top1"].get<double>());
  CHECK(run.progress.best_score == best);
}

TEST_CASE("training of a classifier that is stopped and resumed ends bit for bit where an uninterrupted one does") {
  const TemporaryFolder folder;
  Run whole(folder / "whole");
  REQUIRE(whole() == train::Trainer::Outcome::finished);
  CHECK(whole.progress.step == 12);  // ceil(22 / 4) each
  for (const int stop : {3, 8}) {
    CAPTURE(stop);
    Run part(folder / ("part" + std::to_string(stop)));
    REQUIRE(part(false, stop) == train::Trainer::Outcome::stopped);
    REQUIRE(part(true) == train::Trainer::Outcome::finished);
    CHECK(test::equal_tensors(whole.directory.numbered(12), part.directory.numbered(12)));
  }
  Run dropped(folder / "dropped", {"train.drop_last=true"});
  dropped();
  CHECK(dropped.progress.step == 10);

  const train::DatasetCard card = train::checkpoint_card(whole.directory.best());
  CHECK(card.classes.names == std::vector<std::string>{"disc plain", "disc striped", "square plain", "square striped"});
  CHECK(card.classes.colours.empty());
  CHECK(card.classes.ignore_index == -1);
}

TEST_CASE("data, network and settings that do not go together are named") {
  const TemporaryFolder folder;
  const auto refusal = [&](const std::vector<std::string>& overrides, bool out_map = false) {
    return test::error_of([&] {
      Run run(folder / "bad", overrides);
      run.out_map = out_map;
      run();
    });
  };
  CHECK(contains(refusal({"data.kind=synthetic", "data.height=32", "data.width=32", "data.augment=rotate_scale_crop",
                          "data.shapes=1"}),
                 "data.shapes"));
  CHECK(contains(refusal({"model.classes=5"}), "model.classes: expected 4 as shapes/train has, got 5"));
  CHECK(contains(refusal({"data.crop=0"}), "data.crop: expected one side of a square"));
  CHECK(contains(refusal({"data.crop=[16,20]"}), "got 16x20"));
  CHECK(contains(refusal({"data.crop_area=[0.5,0.1]"}), "data.crop_area: expected least share first"));
  CHECK(contains(refusal({"data.augment=rotate_scale_crop", "data.crop_area=[0.1,0.5]"}), "data.crop_area"));
  CHECK(contains(refusal({"eval.crop_size=19"}), "eval.crop_size: expected at most eval.scale_size, 18, got 19"));
  CHECK(contains(refusal({"eval.scales=[1.0]"}),
                 "eval.scales: expected no such key with model.task = \"classification\", got a value"));
  CHECK(contains(refusal({"validate.mode=crops"}), "validate.mode: expected no such key"));
  CHECK(contains(refusal({"validate.best=miou"}), "validate.best"));
  CHECK(contains(refusal({}, true),
                 "tiny_classifier: one score a class is expected of an image, [N,1,1,4], got [4,4,4,4]"));
}

TEST_CASE("whole datasets are evaluated in order, up to a limit, whatever the batch") {
  const auto device = Device::create("cpu");
  nn::Init init(*device, 3);
  test::TinyClassifier net(12, false, init);
  const data::SyntheticShapes shapes({.size = 21, .height = 20, .width = 26});
  train::ClassifierEvaluation evaluation{.centre_crop = {.scale_size = 16, .crop_size = 14},
                                         .mean = shapes.mean(),
                                         .std = shapes.std(),
                                         .batch = 5,
                                         .workers = 1};
  const ClassificationScores all = evaluation.run(net, shapes);
  CHECK(all.images == 21);
  // One by one, by hand.
  ClassificationScores expected(12);
  train::PhotoClassifier single(net,
                                {.centre_crop = evaluation.centre_crop, .mean = shapes.mean(), .std = shapes.std()});
  for (int64_t i = 0; i < 21; ++i) expected.add(single.scores(shapes.load(i).image), shapes.class_of(i));
  CHECK(all.top1 == expected.top1);
  CHECK(all.top5 == expected.top5);
  CHECK(all.class_images == expected.class_images);
  CHECK(all.mean_loss() == doctest::Approx(expected.mean_loss()).epsilon(1e-5));
  evaluation.limit = 7;
  std::vector<int64_t> seen;
  evaluation.progress = [&](int64_t images) { seen.push_back(images); };
  CHECK(evaluation.run(net, shapes).images == 7);
  CHECK(seen == std::vector<int64_t>{5, 7});
  CHECK(!net.training());
}

TEST_CASE("a map of class activations averages to the pooled scores, and is drawn over the whole photo") {
  const auto device = Device::create("cpu");
  nn::Init init(*device, 3), same(*device, 3);
  test::TinyClassifier pooled(6, false, init), mapped(6, true, same);
  data::Image photo(30, 45, 3);
  for (size_t i = 0; i < photo.pixels.size(); ++i) photo.pixels[i] = static_cast<uint8_t>(i * i % 251);
  const train::PhotoClassifier::Options options{
      .centre_crop = {.scale_size = 22, .crop_size = 18}, .mean = {0.5, 0.5, 0.5}, .std = {0.25, 0.25, 0.25}};
  train::PhotoClassifier a(pooled, options), b(mapped, options);
  const std::vector<float> x = a.scores(photo), y = b.scores(photo);
  REQUIRE(x.size() == 6);
  for (size_t c = 0; c < 6; ++c) CHECK(y[c] == doctest::Approx(x[c]).epsilon(1e-5));

  // 30x45 becomes 22x33, the map 6x9: cells of 4 pixels reach to 24x36, in the photo 32.7 x 49.1.
  const std::vector<float> map = b.class_map(photo, 2);
  REQUIRE(map.size() == 30 * 45);
  const data::Image small = data::resize(photo, 22, 33, data::Filter::bilinear);
  Tensor input = Tensor::empty({1, 22, 33, 3}, DType::f32, *device);
  for (size_t i = 0; i < small.pixels.size(); ++i)
    input.data<float>()[i] = (static_cast<float>(small.pixels[i]) / 255.0f - 0.5f) / 0.25f;
  const NoGrad no_grad(*device);
  const std::vector<double> cells = test::to_doubles(mapped.forward(input).front().scores.value());
  const auto cell = [&](int row, int column) {
    return cells[(static_cast<size_t>(std::clamp(row, 0, 5)) * 9 + static_cast<size_t>(std::clamp(column, 0, 8))) * 6 +
                 2];
  };
  double worst = 0;
  for (int py = 0; py < 30; ++py)
    for (int px = 0; px < 45; ++px) {
      const double v = (py + 0.5) * 6 / 33 - 0.5, u = (px + 0.5) * 9 / 49 - 0.5;
      const int r = static_cast<int>(std::floor(v)), c = static_cast<int>(std::floor(u));
      const double fy = v - r, fx = u - c;
      const double expected = (1 - fy) * ((1 - fx) * cell(r, c) + fx * cell(r, c + 1)) +
                              fy * ((1 - fx) * cell(r + 1, c) + fx * cell(r + 1, c + 1));
      worst = std::max(worst, std::abs(expected - map[static_cast<size_t>(py) * 45 + static_cast<size_t>(px)]));
    }
  CHECK(worst < 1e-4);
  CHECK(contains(test::error_of([&] { a.class_map(photo, 0); }), "no class activation maps"));
  CHECK(contains(test::error_of([&] { b.class_map(photo, 6); }), "0..5, got 6"));
}
