// A tiny classifier trained with everything that DGMN2's recipe on ImageNet has, and averages of its weights.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/core/temporary_folder.h"
#include "tests/support/run_files.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_classifier.h"
#include "train/trainer.h"

namespace {
using namespace segrt;

constexpr const char* kConfig = R"([model]
name = "tiny"
task = "classification"
classes = 2
[data]
kind = "synthetic_shapes"
height = 24
width = 24
shapes = 2
textures = 1
train_size = 48
val_size = 8
augment = "random_resized_crop"
crop = 16
crop_aspect = "log_uniform"
resample = "bicubic"
rand_augment = 2
random_erasing = 0.5
repeated_augmentation = 3
[train]
epochs = 4
batch = 8
optimizer = "adamw"
lr = 5e-3
weight_decay = 0.05
no_decay_1d = true
schedule = "cosine"
end_lr = 1e-5
warmup_epochs = 2
warmup_lr = 1e-4
schedule_lag = 1
mixup = 0.8
cutmix = 1.0
label_smoothing = 0.1
ema_decay = 0.9
log_every = 1
[eval]
scale_size = 20
crop_size = 16
resample = "bicubic"
)";

// Remembers what it was given in training, and from some pass on has a loss that is not finite.
class Watched final : public test::TinyClassifier {
 public:
  struct Seen {
    std::vector<Tensor> inputs;
    size_t last_good = 0;  // passes; 0: all of them
  };
  Watched(int classes, Seen& seen, nn::Init& init) : TinyClassifier(classes, false, init), seen_(seen) {}
  std::vector<models::Head> forward(const Var& image) override {
    std::vector<models::Head> heads = TinyClassifier::forward(image);
    if (training()) seen_.inputs.push_back(image.value().clone());
    return heads;
  }
  std::vector<models::AuxiliaryLoss> auxiliary_losses() override {
    if (seen_.last_good == 0 || seen_.inputs.size() <= seen_.last_good) return {};
    const std::vector<float> infinite{INFINITY};
    return {{"planted", Tensor::from<float>({1}, infinite, seen_.inputs.back().device())}};
  }

 private:
  Seen& seen_;
};

struct Run {
  Run(const std::string& folder, const std::vector<std::string>& overrides = {})
      : directory(folder), config(Config::parse(kConfig, "x.toml", overrides)) {}

  train::Trainer::Outcome operator()(bool resume = false, int stop_after = 0) {
    seen.inputs.clear();  // before their device goes
    device = Device::create(device_name);
    train::Trainer trainer(config, *device, directory, [this](const Config& table, nn::Init& init) {
      table.text("name");
      const models::Task task = models::task_of(table);
      REQUIRE(task == models::Task::classification);
      const int classes = table.integer32("classes", {});
      return watched ? std::make_unique<Watched>(classes, seen, init)
                     : std::make_unique<test::TinyClassifier>(classes, false, init);
    });
    if (resume) trainer.resume();
    directory.create(config);
    train::RunLog log({.directory = directory.path(), .quiet = true});
    int steps = 0;
    return trainer.run(log, [&] { return ++steps == stop_after; });
  }
  bool says(const std::string& text) const {
    return file_bytes((directory.path() / "log.jsonl").string()).find(text) != std::string::npos;
  }

  std::string device_name = "cpu";
  bool watched = false;
  std::unique_ptr<Device> device;
  Watched::Seen seen;
  train::RunDirectory directory;
  Config config;
};

std::string refusal(const std::vector<std::string>& overrides) {
  return test::error_of([&] {
    const TemporaryFolder folder;
    Run run(folder / "run", overrides);
    run();
  });
}
}  // namespace

TEST_CASE("the whole ImageNet recipe: resumed bit for bit, and independent of the number of workers") {
  for (const std::string precision : {"f32", "f16"}) {
    CAPTURE(precision);
    const TemporaryFolder folder;
    const std::vector<std::string> overrides{"train.precision=\"" + precision + "\""};
    const auto with = [&](const std::string& more) {
      std::vector<std::string> all = overrides;
      all.push_back(more);
      return all;
    };
    Run whole(folder / "whole", with("data.workers=0")), parts(folder / "parts", with("data.workers=3"));
    REQUIRE(whole() == train::Trainer::Outcome::finished);
    REQUIRE(parts(false, 9) == train::Trainer::Outcome::stopped);  // in the middle of the second epoch of six batches
    REQUIRE(parts(true) == train::Trainer::Outcome::finished);
    CHECK(test::equal_tensors(whole.directory.latest(), parts.directory.latest()));
    Run other(folder / "other", with("data.seed=2"));
    other();
    CHECK_FALSE(test::equal_tensors(whole.directory.latest(), other.directory.latest()));
  }
}

TEST_CASE("on CUDA the whole recipe replayed from graphs trains as it does step by step, bit for bit") {
  if (!Device::cuda_available()) return;
  for (const std::string precision : {"f32", "f16"}) {
    CAPTURE(precision);
    const TemporaryFolder folder;
    const auto trained = [&](const std::string& capture) {
      Run run(folder / capture,
              {"train.precision=\"" + precision + "\"", "train.capture=" + capture, "train.epochs=2"});
      run.device_name = "cuda";
      REQUIRE(run() == train::Trainer::Outcome::finished);
      CHECK(run.says("replayed from a graph") == (capture == "true"));
      return run.directory.latest();
    };
    CHECK(test::equal_tensors(trained("true"), trained("false")));
  }
}

TEST_CASE("a report of a loss that is not finite looks at the batch as the step saw it: erased and mixed") {
  for (const std::string precision : {"f32", "f16"}) {
    CAPTURE(precision);
    const TemporaryFolder folder;
    Run run(folder / "run", {"train.precision=\"" + precision + "\""}),
        plain(folder / "plain",
              {"train.precision=\"" + precision + "\"", "train.mixup=0", "train.cutmix=0", "data.random_erasing=0"});
    for (Run* r : {&run, &plain}) {
      r->watched = true;
      r->seen.last_good = 5;
      const std::string message = test::error_of([&] { (*r)(); });
      CAPTURE(message);
      CHECK(message.find("auxiliary loss planted [1] has 1 non-finite of 1 values") != std::string::npos);
    }
    // The last pass is the report's, the one before it the step's.
    const auto from_the_end = [](const Run& r, size_t k) {
      return test::to_doubles(r.seen.inputs[r.seen.inputs.size() - k]);
    };
    REQUIRE(run.seen.inputs.size() > 6);
    CHECK(run.seen.inputs.size() == plain.seen.inputs.size());
    CHECK(from_the_end(run, 1) == from_the_end(run, 2));
    CHECK(from_the_end(plain, 1) == from_the_end(plain, 2));
    CHECK(from_the_end(run, 2) != from_the_end(plain, 2));
    CHECK(from_the_end(run, 2) != from_the_end(run, 3));
  }
}

TEST_CASE("what does not fit the recipe is refused by its key") {
  CHECK(refusal({"train.batch=7"}).find("train.batch: expected an even number") != std::string::npos);
  CHECK(refusal({"train.drop_last=false"}).find("train.drop_last") != std::string::npos);
  CHECK(refusal({"train.mixup=0"}).find("train.cutmix_probability") == std::string::npos);
  CHECK(refusal({"train.mixup=0", "train.cutmix_probability=0.3"}).find("train.cutmix_probability") !=
        std::string::npos);
  CHECK(refusal({"train.warmup_steps=5"}).find("train.warmup_steps") != std::string::npos);
  CHECK(refusal({"train.label_smoothing=1"}).find("train.label_smoothing") != std::string::npos);
  CHECK(refusal({"data.rand_augment=0", "data.rand_augment_std=1"}).find("data.rand_augment_std") != std::string::npos);
  CHECK(refusal({"data.repeated_augmentation=0"}).find("data.repeated_augmentation") != std::string::npos);
}
