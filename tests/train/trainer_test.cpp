// Training by iterations of a tiny network with a loss of its own: schedule, logs, checkpoints, resume.
#include "train/trainer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/safetensors.h"
#include "tests/core/temporary_folder.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_network.h"

namespace {
using namespace segrt;

constexpr const char* kConfig = R"([model]
name = "penalised"
[data]
kind = "synthetic"
height = 40
width = 64
train_size = 6
val_size = 2
crop = [32, 48]
workers = 1
[train]
iterations = 7
batch = 2
lr = 0.05
checkpoint_every = 0
checkpoint_every_steps = 2
keep = 10
precise_bn_batches = 3
log_every = 1
clip_norm = 1.0
no_decay = ["bn1.weight", "bn1.bias"]
lr_factors = { head = 2.0 }
[validate]
every = 0
)";

// 0.05 * mean(scores^2) from 40 % of the training on.
class PenalisedNetwork final : public test::TinyNetwork {
 public:
  struct Calls {
    std::vector<std::pair<int64_t, int64_t>> begun;  // of begin_step
    std::vector<int64_t> with_penalty;               // steps
  };
  PenalisedNetwork(Calls& calls, double weight, nn::Init& init)
      : TinyNetwork(19, init), calls_(calls), weight_(weight) {}

  void begin_step(int64_t step, int64_t total) override {
    calls_.begun.emplace_back(step, total);
    step_ = step;
    rate_ = total == 0 ? 0 : static_cast<double>(step) / static_cast<double>(total);
  }
  std::vector<models::Head> forward(const Var& image) override {
    std::vector<models::Head> heads = TinyNetwork::forward(image);
    if (training()) scores_ = heads.front().scores;
    return heads;
  }
  std::vector<models::AuxiliaryLoss> auxiliary_losses() override {
    const Var scores = std::exchange(scores_, {});
    if (rate_ < 0.4) return {};
    calls_.with_penalty.push_back(step_);
    return {{"penalty", autograd::scale(autograd::mean(autograd::mul(scores, scores)), weight_)}};
  }
  std::vector<std::pair<std::string, double>> evaluation_metrics() override { return {{"gflops", 2.5}}; }

 private:
  Calls& calls_;
  double weight_;
  int64_t step_ = 0;
  double rate_ = 0;
  Var scores_;
};

struct Run {
  explicit Run(const std::string& folder, double weight = 0.05, const std::vector<std::string>& overrides = {})
      : directory(folder), config(Config::parse(kConfig, "x.toml", overrides)), weight_(weight) {}

  // Trains, or goes on, until `stop_after` more steps are done (0: to the end).
  train::Trainer::Outcome operator()(bool resume = false, int stop_after = 0) {
    device = Device::create("cpu");
    train::Trainer trainer(config, *device, directory, [&](const Config& table, nn::Init& init) {
      table.text("name");
      return std::make_unique<PenalisedNetwork>(calls, weight_, init);
    });
    if (resume) trainer.resume();
    directory.create(config);
    train::RunLog log({.directory = directory.path(), .quiet = true});
    int steps = 0;
    return trainer.run(log, [&] { return ++steps == stop_after; });
  }
  std::vector<nlohmann::json> lines(const std::string& kind) const {
    std::vector<nlohmann::json> found;
    std::ifstream in(directory.path() / "log.jsonl");
    for (std::string line; std::getline(in, line);)
      if (nlohmann::json json = nlohmann::json::parse(line); json["kind"] == kind) found.push_back(std::move(json));
    return found;
  }

  std::unique_ptr<Device> device;
  train::RunDirectory directory;
  Config config;
  PenalisedNetwork::Calls calls;

 private:
  double weight_;
};

bool equal_tensors(const std::filesystem::path& a, const std::filesystem::path& b) {
  const SafetensorsFile x(a.string()), y(b.string());
  if (x.entries().size() != y.entries().size()) return false;
  return std::all_of(x.entries().begin(), x.entries().end(), [&](const SafetensorsEntry& e) {
    const auto p = x.bytes(e.name), q = y.bytes(e.name);
    return std::equal(p.begin(), p.end(), q.begin(), q.end());
  });
}
}  // namespace

TEST_CASE("training by iterations: steps, auxiliary loss, checkpoints, precise statistics, one validation at the end") {
  const TemporaryFolder folder;
  Run run(folder / "run");
  REQUIRE(run() == train::Trainer::Outcome::finished);

  // Three batches an epoch: seven steps end in the middle of the third. Then (0, 0): statistics and validation.
  std::vector<std::pair<int64_t, int64_t>> begun;
  for (int64_t k = 0; k < 7; ++k) begun.emplace_back(k, 7);
  begun.emplace_back(0, 0);
  begun.emplace_back(0, 0);
  CHECK(run.calls.begun == begun);
  CHECK(run.calls.with_penalty == std::vector<int64_t>{3, 4, 5, 6});

  const std::vector<nlohmann::json> steps = run.lines("train");
  REQUIRE(steps.size() == 7);
  for (int64_t k = 0; k < 7; ++k) {
    const nlohmann::json& line = steps[static_cast<size_t>(k)];
    CHECK(line["step"] == k + 1);
    CHECK(line["epoch"] == k / 3);
    CHECK(line.contains("loss_penalty") == (k >= 3));
    if (k >= 3) CHECK(line["loss_penalty"].get<double>() > 0);
    if (k >= 3) CHECK(line["loss_penalty"].get<double>() < line["loss"].get<double>());
    CHECK(line["learning_rate"].get<double>() ==
          doctest::Approx(0.05 * std::pow(1 - static_cast<double>(k) / 7, 0.9)).epsilon(1e-6));
  }
  const std::vector<nlohmann::json> scores = run.lines("val");
  REQUIRE(scores.size() == 1);
  CHECK(scores[0]["step"] == 7);
  CHECK(scores[0]["gflops"] == 2.5);
  for (int64_t step = 1; step <= 7; ++step)
    CHECK(std::filesystem::exists(run.directory.numbered(step)) == (step % 2 == 0 || step == 7));
  CHECK(std::filesystem::exists(run.directory.best()));

  // The statistics belong to the last checkpoint alone: without them it differs there, and only in buffers.
  Run plain(folder / "plain", 0.05, {"train.precise_bn_batches=0"});
  plain();
  CHECK(equal_tensors(run.directory.numbered(6), plain.directory.numbered(6)));
  const SafetensorsFile a(run.directory.numbered(7).string()), b(plain.directory.numbered(7).string());
  for (const SafetensorsEntry& e : a.entries()) {
    CAPTURE(e.name);
    const auto p = a.bytes(e.name), q = b.bytes(e.name);
    const bool is_statistic = e.name.find("running_") != std::string::npos || e.name.ends_with("num_batches_tracked");
    CHECK(std::equal(p.begin(), p.end(), q.begin(), q.end()) == !is_statistic);
  }
  // The penalty reaches the weights.
  Run without(folder / "without", 0.0, {"train.precise_bn_batches=0"});
  without();
  CHECK(equal_tensors(without.directory.numbered(2), plain.directory.numbered(2)));
  CHECK_FALSE(equal_tensors(without.directory.numbered(4), plain.directory.numbered(4)));
}

TEST_CASE(
    "a run by iterations that is stopped in an epoch and resumed ends bit for bit where an uninterrupted one does") {
  const TemporaryFolder folder;
  Run whole(folder / "whole");
  REQUIRE(whole() == train::Trainer::Outcome::finished);
  Run part(folder / "part");
  REQUIRE(part(false, 5) == train::Trainer::Outcome::stopped);
  REQUIRE(std::filesystem::exists(part.directory.numbered(5)));
  part.calls = {};
  REQUIRE(part(true) == train::Trainer::Outcome::finished);
  CHECK(part.calls.begun.front() == std::pair<int64_t, int64_t>{5, 7});
  CHECK(part.calls.with_penalty == std::vector<int64_t>{5, 6});
  CHECK(equal_tensors(whole.directory.numbered(6), part.directory.numbered(6)));
  CHECK(equal_tensors(whole.directory.numbered(7), part.directory.numbered(7)));
}

TEST_CASE("a run with Adam resumes bit for bit; its checkpoint is none for SGD") {
  const TemporaryFolder folder;
  std::string text(kConfig);
  text.replace(text.find("batch = 2"), 9, "batch = 2\noptimizer = \"adam\"\nbeta1 = 0.5");
  Run whole(folder / "whole"), part(folder / "part");
  whole.config = part.config = Config::parse(text, "x.toml");
  whole();
  part(false, 5);
  part(true);
  CHECK(equal_tensors(whole.directory.numbered(7), part.directory.numbered(7)));
  const SafetensorsFile file(part.directory.numbered(7).string());
  CHECK(file.contains("train/adam_m/conv1.weight"));
  CHECK(file.contains("train/adam_v/bn2.bias"));
  CHECK(file.read("train/adam_updates", *part.device).item() == 7);
  part.config = Config::parse(kConfig, "x.toml");
  CHECK(test::error_of([&] { part(true); }).find("train/momentum/conv1.weight is missing") != std::string::npos);
}

TEST_CASE("epochs end with validation and checkpoints as often as asked") {
  const TemporaryFolder folder;
  const std::string text(kConfig);
  const size_t at = text.find("iterations = 7");
  Run run(folder / "run");
  run.config = Config::parse(
      std::string(text).replace(at, 14, "epochs = 3"), "x.toml",
      std::vector<std::string>{"validate.every=2", "train.checkpoint_every=2", "train.checkpoint_every_steps=0"});
  REQUIRE(run() == train::Trainer::Outcome::finished);
  CHECK(run.lines("train").size() == 9);
  const std::vector<nlohmann::json> scores = run.lines("val");
  REQUIRE(scores.size() == 2);
  CHECK(scores[0]["epoch"] == 2);
  CHECK(scores[1]["epoch"] == 3);
  for (int64_t step = 1; step <= 9; ++step)
    CHECK(std::filesystem::exists(run.directory.numbered(step)) == (step == 6 || step == 9));
}

TEST_CASE("validation every so many steps, in the middle of epochs, and at the end") {
  const TemporaryFolder folder;
  Run plain(folder / "plain", 0.05, {"train.checkpoint_every_steps=0"});
  REQUIRE(plain() == train::Trainer::Outcome::finished);
  Run run(folder / "run", 0.05, {"validate.every_steps=2", "train.checkpoint_every_steps=0"});
  REQUIRE(run() == train::Trainer::Outcome::finished);
  std::vector<int64_t> steps;
  double best = -1;
  std::vector<bool> is_best;
  for (const nlohmann::json& line : run.lines("val")) {
    steps.push_back(line["step"].get<int64_t>());
    is_best.push_back(line["miou"].get<double>() > best);
    best = std::max(best, line["miou"].get<double>());
  }
  CHECK(steps == std::vector<int64_t>{2, 4, 6, 7});
  CHECK(run.lines("train").size() == 7);
  // A better score is worth a checkpoint.
  for (size_t i = 0; i < is_best.size(); ++i)
    CHECK(std::filesystem::exists(run.directory.numbered(steps[i])) == (is_best[i] || steps[i] == 7));
  // Looking does not change the training.
  CHECK(equal_tensors(plain.directory.numbered(7), run.directory.numbered(7)));
}

TEST_CASE("an auxiliary loss that is not finite stops the run and is named") {
  const TemporaryFolder folder;
  Run run(folder / "run", INFINITY);
  const std::string message = test::error_of([&] { run(); });
  CHECK(message.find("the loss of step 3 is inf: auxiliary loss penalty [1] has 1 non-finite of 1 values") !=
        std::string::npos);
  CHECK(message.find("step_00000002.safetensors") != std::string::npos);
}

TEST_CASE("the run log names auxiliary losses") {
  const TemporaryFolder folder;
  {
    train::RunLog log({.directory = folder.path(), .quiet = true});
    log.step({.step = 3, .loss = 1.5, .auxiliary_losses = {{"budget", 0.25}, {"other", std::nan("")}}});
  }
  const nlohmann::json line = nlohmann::json::parse(std::ifstream(folder / "log.jsonl"));
  CHECK(line["loss"] == 1.5);
  CHECK(line["loss_budget"] == 0.25);
  CHECK(line["loss_other"].is_null());
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    if (entry.path().filename().string().starts_with("events"))
      CHECK(file_bytes(entry.path().string()).find("train/loss_budget") != std::string::npos);
}
