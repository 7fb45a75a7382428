// Averages of weights: their formula, in recorded steps, through checkpoints, validation and resume.
#include "train/weight_average.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/safetensors.h"
#include "nn/state.h"
#include "tests/core/temporary_folder.h"
#include "tests/support/run_files.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_network.h"
#include "train/trainer.h"
#include "train/validation.h"

namespace {
using namespace segrt;
constexpr double kDecay = 0.8;

using Values = std::map<std::string, std::vector<double>>;
Values values_of(const std::vector<NamedTensor>& tensors) {
  Values values;
  for (const NamedTensor& t : tensors) values[t.name] = test::to_doubles(t.tensor);
  return values;
}
bool is_count(const std::string& name) { return name.ends_with("num_batches_tracked"); }

// A network in training, step by step.
struct Steps {
  Steps(Device& on, DType computed, bool capture, double loss_scale)
      : device(on),
        dtype(computed),
        init(on, 7),
        model(4, init),
        optimizer(train::Optimizer::create(model, recipe(computed, loss_scale))),
        average(model, kDecay),
        step(model, *optimizer, {.capture = capture}, nullptr, &average) {
    model.set_training(true);
  }
  static train::Optimizer::Options recipe(DType dtype, double loss_scale) {
    train::Optimizer::Options o;
    o.kind = train::Optimizer::Kind::adamw;
    o.schedule.base = 0.02;
    if (dtype == DType::f16) o.loss_scaling = {.initial = loss_scale, .rule = {.growth_interval = 5}};
    return o;
  }
  void run(int i) {
    const auto seed = static_cast<uint64_t>(i + 1);
    step.run(test::random_normal({2, 8, 8, 3}, dtype, device, {.seed = seed}),
             test::random_labels({2, 8, 8}, DType::u8, device, 4, 7, seed), i, 20, nullptr);
  }
  Values weights() {
    const auto host = Device::create("cpu");
    return values_of(nn::state_dict(model, *host));
  }
  Values averages() const {
    const auto host = Device::create("cpu");
    return values_of(average.state(*host));
  }

  Device& device;
  DType dtype;
  nn::Init init;
  test::TinyNetwork model;
  std::unique_ptr<train::Optimizer> optimizer;
  train::WeightAverage average;
  train::TrainingStep step;
};

constexpr const char* kConfig = R"([model]
name = "tiny"
[data]
kind = "synthetic"
height = 40
width = 64
train_size = 6
val_size = 2
crop = [32, 48]
workers = 1
[train]
iterations = 8
batch = 2
lr = 0.05
ema_decay = 0.8
checkpoint_every_steps = 1
keep = 20
log_every = 1
[validate]
every_steps = 3
)";

struct Run {
  Run(const std::string& folder, const std::vector<std::string>& overrides = {})
      : directory(folder), config(Config::parse(kConfig, "x.toml", overrides)) {}

  static std::unique_ptr<models::Model> build(const Config& table, nn::Init& init) {
    table.text("name");
    return std::make_unique<test::TinyNetwork>(19, init);
  }
  train::Trainer::Outcome operator()(bool resume = false, int stop_after = 0) {
    device = Device::create("cpu");
    train::Trainer trainer(config, *device, directory, build);
    if (resume) trainer.resume();
    directory.create(config);
    train::RunLog log({.directory = directory.path(), .quiet = true});
    int steps = 0;
    return trainer.run(log, [&] { return ++steps == stop_after; });
  }
  // Of the checkpoint of a step: the weights that others see, and those that training goes on from.
  Values published(int64_t step) const { return read(step, ""); }
  Values trained(int64_t step) const { return read(step, train::kWeightsPrefix); }
  double skipped_steps(int64_t step) const {
    const auto host = Device::create("cpu");
    const SafetensorsFile file(directory.numbered(step).string());
    return file.contains("train/skipped_steps") ? file.read("train/skipped_steps", *host).item() : 0;
  }
  std::vector<nlohmann::json> lines(const std::string& kind) const { return test::log_lines(directory.path(), kind); }

  std::unique_ptr<Device> device;
  train::RunDirectory directory;
  Config config;

 private:
  Values read(int64_t step, const std::string& prefix) const {
    const auto host = Device::create("cpu");
    const SafetensorsFile file(directory.numbered(step).string());
    Values values;
    for (const SafetensorsEntry& e : file.entries())
      if (prefix.empty() ? !e.name.starts_with(train::kTrainPrefix) : e.name.starts_with(prefix))
        values[e.name.substr(prefix.size())] = test::to_doubles(file.read(e.name, *host));
    return values;
  }
};

// average + (1 - kDecay) * (value - average) in float64; counters are the value's.
void advance(Values& average, const Values& value) {
  for (auto& [name, numbers] : average)
    for (size_t i = 0; i < numbers.size(); ++i) {
      const double latest = value.at(name).at(i);
      numbers[i] = is_count(name) ? latest : kDecay * numbers[i] + (1 - kDecay) * latest;
    }
}
void agree(const Values& found, const Values& expected) {
  REQUIRE(found.size() == expected.size());
  for (const auto& [name, numbers] : expected) {
    CAPTURE(name);
    CHECK(test::relative_l2(found.at(name), numbers) <= 1e-6);  // some ten roundings to float32
  }
}
}  // namespace

TEST_CASE("parameters and running statistics are averaged after every step, counters are not") {
  for (const auto& device : test::test_devices()) {
    CAPTURE(device->name());
    Steps t(*device, DType::f32, false, 0);
    Values expected = t.weights();
    CHECK(t.averages() == expected);
    for (int i = 0; i < 6; ++i) {
      t.run(i);
      advance(expected, t.weights());
      agree(t.averages(), expected);
    }
    CHECK(t.averages().at("bn1.num_batches_tracked") == std::vector<double>{6});
    for (const auto& [name, numbers] : t.weights())
      if (!is_count(name)) CHECK(t.averages().at(name) != numbers);
  }
}

TEST_CASE("a step that loss scaling skips leaves the averages alone, and the first good one does not") {
  for (const auto& device : test::test_devices()) {
    CAPTURE(device->name());
    Steps t(*device, DType::f16, false, std::ldexp(1.0, 40));
    const Values before = t.averages();
    int steps = 0;
    const auto floats_changed = [&] {
      for (const auto& [name, numbers] : t.averages())
        if (!is_count(name) && numbers != before.at(name)) return true;
      return false;
    };
    t.run(steps++);
    CHECK(t.optimizer->skipped_steps().item() == 1);
    CHECK_FALSE(floats_changed());
    CHECK(t.weights().at("bn1.running_mean") != before.at("bn1.running_mean"));  // the pass itself did happen
    while (t.optimizer->skipped_steps().item() == steps && steps < 60) {
      CHECK_FALSE(floats_changed());
      t.run(steps++);
    }
    CHECK(steps < 60);
    CHECK(floats_changed());
  }
}

TEST_CASE("averages of replayed steps are those of eager ones, bit for bit, skipped steps included") {
  if (!Device::cuda_available()) return;
  for (const DType dtype : {DType::f32, DType::f16}) {
    const auto device = Device::create("cuda");
    device->set_deterministic(true);
    Steps eager(*device, dtype, false, 1 << 24), captured(*device, dtype, true, 1 << 24);
    for (int i = 0; i < 12; ++i) {
      eager.run(i);
      captured.run(i);
      CHECK(captured.step.reason().empty() == (i >= 2));
      if (i == 6)  // a validation between two replays
        for (Steps* t : {&eager, &captured}) {
          const Values weights = t->weights(), averages = t->averages();
          {
            const train::WeightAverage::InModel averaged(&t->average);
            const NoGrad no_grad(*device);
            CHECK(t->weights() == averages);
            t->model.set_training(false);
            t->model.forward(test::random_normal({1, 8, 8, 3}, dtype, *device));  // makes copies and folded weights
            t->model.set_training(true);
          }
          CHECK(t->weights() == weights);
          CHECK(t->averages() == averages);
        }
    }
    CHECK(captured.averages() == eager.averages());
    CHECK(captured.weights() == eager.weights());
    if (dtype == DType::f16) CHECK(captured.optimizer->skipped_steps().item() >= 3);
  }
}

TEST_CASE("a run with averages trains as one without, saves the averages as its weights, and validates them") {
  const TemporaryFolder folder;
  Run plain(folder / "plain", {"train.ema_decay=0"}), run(folder / "run");
  REQUIRE(plain() == train::Trainer::Outcome::finished);
  REQUIRE(run() == train::Trainer::Outcome::finished);
  Values expected = run.published(1);
  for (int64_t step = 1; step <= 8; ++step) {
    CAPTURE(step);
    CHECK(run.trained(step) == plain.published(step));  // validations lie in between
    CHECK(plain.trained(step).empty());
    if (step > 1) advance(expected, run.trained(step));
    agree(run.published(step), expected);
    CHECK(run.published(step).at("conv2.weight") != run.trained(step).at("conv2.weight"));
  }
  // The scores are those of the weights that anyone loads from the checkpoint.
  const std::vector<nlohmann::json> scores = run.lines("val"), of_plain = plain.lines("val");
  REQUIRE(scores.size() == 3);
  double best = -1;
  for (const nlohmann::json& line : scores) {
    const auto device = Device::create("cpu");
    nn::Init init(*device, 99);
    test::TinyNetwork net(19, init);
    train::load_weights(run.directory.numbered(line["step"].get<int64_t>()), net);
    const auto val_set = train::make_dataset(run.config, "val");
    train::Evaluator::Options options = train::evaluation_options(train::eval_settings(run.config), false, false);
    options.mean = val_set->mean();
    options.std = val_set->std();
    const auto values = train::validate_images(net, *val_set, options, 0);
    CHECK(values.at("miou") == line["miou"].get<double>());
    CHECK(values.at("pixel_accuracy") == line["pixel_accuracy"].get<double>());
    best = std::max(best, values.at("miou"));
  }
  CHECK(scores.back()["pixel_accuracy"] != of_plain.back()["pixel_accuracy"]);
  for (const nlohmann::json& line : scores)
    if (line["miou"].get<double>() == best) {
      CHECK(test::equal_tensors(run.directory.best(), run.directory.numbered(line["step"].get<int64_t>())));
      break;
    }
}

TEST_CASE("averages are resumed bit for bit; with and without them, either way") {
  const TemporaryFolder folder;
  for (const std::string precision : {"f32", "f16"}) {
    CAPTURE(precision);
    const std::string name = folder / precision;
    const std::vector<std::string> overrides{"train.precision=" + precision, "train.loss_scale=67108864",
                                             "train.loss_scale_backoff=0.05"};
    const auto with = [&](const std::string& setting) {
      std::vector<std::string> all(overrides.begin(), precision == "f16" ? overrides.end() : overrides.begin() + 1);
      if (!setting.empty()) all.push_back(setting);
      return all;
    };
    Run whole(name + "whole", with("")), part(name + "part", with(""));
    whole();
    REQUIRE(part(false, 5) == train::Trainer::Outcome::stopped);
    REQUIRE(part(true) == train::Trainer::Outcome::finished);
    for (int64_t step = 5; step <= 8; ++step)
      CHECK(test::equal_tensors(whole.directory.numbered(step), part.directory.numbered(step)));

    // Given up half-way: on from the weights themselves.
    Run plain(name + "plain", with("train.ema_decay=0")), dropped(name + "dropped", with(""));
    plain();
    dropped(false, 5);
    dropped.config = Config::parse(kConfig, "x.toml", with("train.ema_decay=0"));
    dropped(true);
    CHECK(test::equal_tensors(plain.directory.numbered(8), dropped.directory.numbered(8)));

    // Taken up half-way: from what the weights are then.
    Run late(name + "late", with("train.ema_decay=0"));
    late(false, 5);
    late.config = Config::parse(kConfig, "x.toml", with(""));
    late(true);
    CHECK(late.trained(8) == plain.published(8));
    Values expected = plain.published(5);
    for (int64_t step = 6; step <= 8; ++step)
      if (late.skipped_steps(step) == late.skipped_steps(step - 1)) advance(expected, late.trained(step));
    Values found = late.published(8);
    for (const Values& v : {found, expected})
      CHECK(v.at("bn1.running_mean") != plain.published(8).at("bn1.running_mean"));
    for (Values* v : {&found, &expected}) std::erase_if(*v, [](const auto& entry) { return is_count(entry.first); });
    agree(found, expected);
    CHECK((late.skipped_steps(8) > 0) == (precision == "f16"));
    CHECK(late.skipped_steps(8) < 7);
  }
}

TEST_CASE("statistics that are computed anew belong to the weights, and to the averages their own") {
  const TemporaryFolder folder;
  const std::vector<std::string> precise{"train.precise_bn_batches=2"};
  Run run(folder / "run", precise), plain(folder / "plain", {"train.ema_decay=0", precise[0]});
  run();
  plain();
  const Values weights = run.trained(8), alone = plain.published(8), averages = run.published(8);
  for (const auto& [name, numbers] : alone)
    if (!is_count(name)) CHECK(weights.at(name) == numbers);
  Run without(folder / "without");
  without();
  CHECK(averages.at("conv1.weight") == without.published(8).at("conv1.weight"));
  CHECK(averages.at("bn1.running_var") != without.published(8).at("bn1.running_var"));
  CHECK(averages.at("bn1.running_var") != weights.at("bn1.running_var"));
}

TEST_CASE("decays that are none are refused by their key") {
  const TemporaryFolder folder;
  const auto refusal = [&](const std::string& value) {
    return test::error_of([&] { Run(folder / "bad", {"train.ema_decay=" + value})(); });
  };
  for (const char* value : {"1", "1.5", "-0.1", "slow", "true"}) {
    CAPTURE(value);
    CHECK(refusal(value).find("train.ema_decay: expected a number") != std::string::npos);
  }
  const auto device = Device::create("cpu");
  nn::Init init(*device, 1);
  test::TinyNetwork net(3, init);
  CHECK(test::error_of([&] { train::WeightAverage(net, 1); }) ==
        "weight average: decay: expected a number between 0 and 1, got 1");
}
