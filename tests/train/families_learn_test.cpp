// Whole networks that learn synthetic streets in seconds: their heads, losses, optimizers and evaluation together.
#include <doctest/doctest.h>

#include <string>

#include "tests/core/temporary_folder.h"
#include "train/data_settings.h"
#include "train/evaluator.h"
#include "train/trainer.h"

namespace {
using namespace segrt;

constexpr const char* kStreets = R"(classes = 19
[data]
kind = "synthetic"
height = 96
width = 192
train_size = 160
val_size = 12
crop = [64, 128]
workers = 1
)";
constexpr const char* kDabNet = R"([train]
iterations = 120
batch = 4
lr = 0.02
schedule = "poly"
schedule_per = "iteration"
warmup_steps = 10
warmup_factor = 0.1
weight_decay = 5e-4
)";
constexpr const char* kDgmn2 = R"([train]
iterations = 60
batch = 4
optimizer = "adamw"
lr = 5e-4
schedule = "poly"
schedule_per = "iteration"
warmup_steps = 10
warmup_factor = 0.1
weight_decay = 0.01
[eval]
window = [64, 128]
window_stride = [32, 64]
)";

struct Scores {
  train::SegmentationScores network, majority;
};

Scores trained(const std::string& name, const std::string& recipe) {
  const Config config = Config::parse("[model]\nname = \"" + name + "\"\n" + kStreets + recipe, "x.toml");
  const TemporaryFolder folder;
  const train::RunDirectory directory(folder / "run");
  const std::unique_ptr<Device> device = Device::create("cpu");
  train::Trainer trainer(config, *device, directory);
  directory.create(config);
  train::RunLog log({.directory = directory.path(), .quiet = true});
  REQUIRE(trainer.run(log, [] { return false; }) == train::Trainer::Outcome::finished);

  const std::unique_ptr<data::Dataset> streets = train::make_dataset(config, "val");
  train::Evaluator::Options options = train::evaluation_options(train::eval_settings(config), false, false);
  options.mean = streets->mean();
  options.std = streets->std();
  const std::vector<int64_t> matrix = train::Evaluator(trainer.model(), options).evaluate(*streets).confusion;
  return {train::segmentation_scores(matrix, 19), train::majority_scores(matrix, 19)};
}
}  // namespace

TEST_CASE("learns: DABNet and DGMN2 on synthetic streets, from random weights") {
  for (const auto& [name, recipe] :
       {std::pair<std::string, std::string>{"dabnet_r_p2", kDabNet}, {"dgmn2_tiny_fpn", kDgmn2}}) {
    CAPTURE(name);
    const Scores s = trained(name, recipe);
    MESSAGE(name, ": aAcc ", s.network.aacc, " (most frequent class ", s.majority.aacc, "), mIoU ", s.network.miou,
            " (", s.majority.miou, ")");
    CHECK(s.network.aacc > s.majority.aacc + 0.2);
    CHECK(s.network.miou > 3 * s.majority.miou);
  }
}
