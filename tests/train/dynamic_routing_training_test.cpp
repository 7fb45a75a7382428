// Training of a tiny Dynamic Routing network: what is scheduled inside it survives a stop, and where it can start from.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "core/safetensors.h"
#include "models/dynamic_routing.h"
#include "nn/state.h"
#include "tests/core/temporary_folder.h"
#include "tests/support/tensors.h"
#include "train/trainer.h"

namespace {
using namespace segrt;

// 100 steps: the budget comes in at step 40 and has its full weight from step 42 on.
constexpr const char* kConfig = R"([model]
name = "dynamic_raw_l16"
classes = 19
layers = 3
width = 4
budget_weight = 0.8
budget_mu = 0.1
budget_total = 0.3
drop_path = 0.5
flops_size = [32, 32]
flops_size_eval = [64, 64]
[data]
kind = "synthetic"
height = 40
width = 64
train_size = 6
val_size = 2
crop = [32, 32]
workers = 1
[train]
iterations = 100
batch = 2
lr = 0.01
clip_norm = 5.0
checkpoint_every = 0
log_every = 1
keep = 10
[eval]
average = "logits"
)";

struct Run {
  explicit Run(const std::filesystem::path& folder) : directory(folder), config(Config::parse(kConfig, "x.toml")) {}

  train::Trainer::Outcome operator()(bool resume, int stop_after) {
    const std::unique_ptr<Device> device = Device::create("cpu");
    train::Trainer trainer(config, *device, directory,
                           [](const Config& t, nn::Init& i) { return models::build(t, i); });
    if (resume) trainer.resume();
    directory.create(config);
    train::RunLog log({.directory = directory.path(), .quiet = true});
    int steps = 0;
    return trainer.run(log, [&] { return ++steps == stop_after; });
  }
  // The budget loss that was logged, by steps done.
  std::map<int64_t, double> budget() const {
    std::map<int64_t, double> values;
    std::ifstream in(directory.path() / "log.jsonl");
    for (std::string line; std::getline(in, line);) {
      const nlohmann::json json = nlohmann::json::parse(line);
      if (json["kind"] == "train" && json.contains("loss_budget")) values[json["step"]] = json["loss_budget"];
    }
    return values;
  }

  train::RunDirectory directory;
  Config config;
};

std::unique_ptr<models::Model> build(const std::string& text, Device& device, uint64_t seed) {
  const Config config = Config::parse("[model]\nlayers = 4\nwidth = 4\n" + text, "x.toml");
  nn::Init init(device, seed);
  return models::build(config.table("model"), init);
}
}  // namespace

TEST_CASE("a run that is stopped while the budget ramps up and resumed ends where an uninterrupted one ends") {
  const TemporaryFolder folder;
  Run whole(folder / "whole"), parts(folder / "parts");
  REQUIRE(whole(false, 0) == train::Trainer::Outcome::finished);
  REQUIRE(parts(false, 41) == train::Trainer::Outcome::stopped);  // next: step 41, half of the ramp
  REQUIRE(parts(true, 0) == train::Trainer::Outcome::finished);

  const std::map<int64_t, double> budget = whole.budget();
  REQUIRE(budget.size() == 60);
  CHECK(budget.begin()->first == 41);  // the report after step 40, whose weight is still 0
  CHECK(budget.at(41) == 0);
  CHECK(budget.at(42) > 0);
  CHECK(budget.at(43) / budget.at(42) == doctest::Approx(2).epsilon(0.1));
  CHECK(parts.budget() == budget);

  const SafetensorsFile a(whole.directory.numbered(100).string()), b(parts.directory.numbered(100).string());
  REQUIRE(a.entries().size() == b.entries().size());
  for (const SafetensorsEntry& e : a.entries()) {
    CAPTURE(e.name);
    const auto p = a.bytes(e.name), q = b.bytes(e.name);
    CHECK(std::equal(p.begin(), p.end(), q.begin(), q.end()));
  }
}

TEST_CASE("a gated network starts from a classifier without gates; gates and head stay as initialised") {
  const TemporaryFolder folder;
  const std::unique_ptr<Device> device = Device::create("cpu");
  const auto classifier = build("name = \"dynamic_fix_l16\"\ntask = \"classification\"\nclasses = 7\n", *device, 1);
  const auto fresh = build("name = \"dynamic_raw_l16\"\nclasses = 19\n", *device, 2),
             started = build("name = \"dynamic_raw_l16\"\nclasses = 19\n", *device, 2);
  const std::vector<NamedTensor> tensors = nn::state_dict(*classifier, *device);
  std::map<std::string, std::vector<double>> source;
  for (const NamedTensor& t : tensors) source[t.name] = test::to_doubles(t.tensor);
  write_safetensors(folder / "fix.safetensors", tensors);
  const std::string note = train::load_pretrained(folder / "fix.safetensors", *started);
  CHECK(note.find("left as initialised: ") != std::string::npos);

  std::map<std::string, std::vector<double>> initial;
  fresh->visit_parameters(
      [&](const std::string& path, nn::Parameter& p) { initial[path] = test::to_doubles(p.var.value()); });
  size_t taken = 0;
  started->visit_parameters([&](const std::string& path, nn::Parameter& p) {
    CAPTURE(path);
    const bool own = path.find("gate_conv_beta") != std::string::npos || path.starts_with("sem_seg_head.");
    if (own) {
      CHECK(test::to_doubles(p.var.value()) == initial.at(path));
      return;
    }
    ++taken;
    CHECK(test::to_doubles(nn::to_upstream_layout(p.var.value())) == source.at(path));
  });
  CHECK(taken > 100);
}
