// Averages of weights where several processes train together.
#include "train/weight_average.h"

#include "nn/state.h"
#include "tests/core/temporary_folder.h"
#include "tests/mpi/world.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_network.h"
#include "train/trainer.h"
#include "train/validation.h"

using namespace segrt;

namespace {
// The largest difference between a process's values and those of process 0.
double worst_difference(const std::vector<double>& own) {
  const auto cpu = Device::create("cpu");
  Communicator& world = test::world();
  const auto count = static_cast<int64_t>(own.size());
  const Tensor all = Tensor::empty({world.size(), count}, DType::f64, *cpu);
  world.all_gather(Tensor::from<double>({count}, own, *cpu), all);
  const std::vector<double> values = all.to_vector<double>();
  double worst = 0;
  for (size_t i = 0; i < values.size(); ++i) worst = std::max(worst, std::abs(values[i] - values[i % own.size()]));
  return worst;
}

constexpr const char* kConfig = R"([model]
name = "tiny"
[data]
kind = "synthetic"
height = 40
width = 64
train_size = 8
val_size = 4
crop = [32, 48]
workers = 1
[train]
iterations = 4
batch = 1
lr = 0.05
ema_decay = 0.7
checkpoint_every = 0
[validate]
best = "pixel_accuracy"
)";
}  // namespace

TEST_CASE("all processes have the same averages of the same weights") {
  for (const bool sync_bn : {true, false}) {
    CAPTURE(sync_bn);
    const auto cpu = Device::create("cpu"), host = Device::create("cpu");
    nn::Init init(*cpu, 7);
    test::TinyNetwork model(4, init);
    model.set_training(true);
    train::DataParallel parallel(model, test::world(), {.sync_bn = sync_bn});
    parallel.broadcast_state();
    train::Sgd sgd(model, {.schedule = {.base = 0.05}, .sgd = {}});
    train::WeightAverage average(model, 0.7);
    train::TrainingStep step(model, sgd, {}, &parallel, &average);
    const auto before = average.state(*host);
    for (int i = 0; i < 4; ++i) {
      const auto seed = static_cast<uint64_t>(10 * i + test::world().rank() + 1);
      step.run(test::random_normal({2, 8, 8, 3}, DType::f32, *cpu, {.seed = seed}),
               test::random_labels({2, 8, 8}, DType::u8, *cpu, 4, 7, seed), i, 4, nullptr);
    }
    const auto after = average.state(*host);
    for (size_t k = 0; k < after.size(); ++k) {
      CAPTURE(after[k].name);
      const bool statistic = after[k].name.find("running_") != std::string::npos;
      const std::vector<double> values = test::to_doubles(after[k].tensor);
      if (statistic && !sync_bn && test::world().size() > 1)
        CHECK(worst_difference(values) > 0);  // each has its own samples
      else
        CHECK(worst_difference(values) == 0);
      CHECK(values != test::to_doubles(before[k].tensor));
    }
  }
}

TEST_CASE("the score of averages is that of the checkpoint that process 0 writes") {
  for (const std::string sync_bn : {"true", "false"}) {
    CAPTURE(sync_bn);
    const TemporaryFolder folder;
    const auto cpu = Device::create("cpu");
    const Config config = Config::parse(kConfig, "x.toml", std::vector<std::string>{"train.sync_bn=" + sync_bn});
    const train::RunDirectory directory(folder / "run");
    const auto build = [](const Config& table, nn::Init& init) {
      table.text("name");
      return std::make_unique<test::TinyNetwork>(19, init);
    };
    train::Trainer trainer(config, *cpu, directory, build, &test::world());
    directory.create(config);
    train::RunLog log({.directory = {}, .quiet = true});
    REQUIRE(trainer.run(log, {}) == train::Trainer::Outcome::finished);
    const double score = trainer.progress().best_score;
    CHECK(worst_difference({score}) == 0);
    if (test::world().rank() > 0) continue;
    nn::Init init(*cpu, 99);
    test::TinyNetwork net(19, init);
    train::load_weights(directory.latest(), net);
    CHECK(train::has_averages(directory.latest()));
    const auto val_set = train::make_dataset(config, "val");
    train::Evaluator::Options options = train::evaluation_options(train::eval_settings(config), false, false);
    options.mean = val_set->mean();
    options.std = val_set->std();
    CHECK(train::validate_images(net, *val_set, options, 0).at("pixel_accuracy") == score);
  }
}
