// A recorded step trains as an eager one does, bit for bit; what cannot be recorded says why.
#include "train/training_step.h"

#include <doctest/doctest.h>

#include <cmath>

#include "kernels/batch_augment.h"
#include "nn/state.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_classifier.h"
#include "tests/support/tiny_network.h"

namespace {
using namespace segrt;
constexpr int kClasses = 4, kTotalSteps = 8;

train::Sgd::Options recipe() {
  train::Sgd::Options o;
  o.schedule = {.kind = kernels::LrSchedule::Kind::poly, .base = 0.05, .total = kTotalSteps};
  o.weight_decay = 1e-3;
  o.clip_norm = 0.5;
  return o;
}

// A network in training, with the batches it is given.
struct Training {
  explicit Training(Device& on, train::TrainingStep::Options options)
      : device(on), init(on, 7), model(kClasses, init), optimizer(model, recipe()), step(model, optimizer, options) {
    model.set_training(true);
  }

  void run(int i, int64_t size = 8) {
    const std::unique_ptr<Device> host = Device::create("cpu");
    const Tensor x = test::random_normal({2, size, size, 3}, DType::f32, *host, {.seed = static_cast<uint64_t>(i + 1)});
    std::vector<uint8_t> classes(static_cast<size_t>(2 * size * size));
    for (size_t p = 0; p < classes.size(); ++p) classes[p] = static_cast<uint8_t>((p * 7 + static_cast<size_t>(i)) % 5);
    for (uint8_t& c : classes) c = c == kClasses ? 255 : c;
    const Tensor labels = Tensor::from<uint8_t>({2, size, size}, classes, *host);
    step.run(x.to(device), labels.to(device), i, kTotalSteps,
             [&](const Tensor& total, const auto&) { losses.push_back(total.clone()); });
  }
  std::vector<double> loss_values() const {
    std::vector<double> values;
    for (const Tensor& t : losses) values.push_back(t.item());
    return values;
  }
  std::vector<std::vector<double>> state() {
    const std::unique_ptr<Device> host = Device::create("cpu");
    std::vector<std::vector<double>> values;
    for (const NamedTensor& t : nn::state_dict(model, *host)) values.push_back(test::to_doubles(t.tensor));
    for (const NamedTensor& t : optimizer.state(*host)) values.push_back(test::to_doubles(t.tensor));
    return values;
  }
  // Class scores in evaluation mode, through the folded weights.
  std::vector<double> scores() {
    const NoGrad no_grad(device);
    model.set_training(false);
    const std::unique_ptr<Device> host = Device::create("cpu");
    const Tensor x = test::random_normal({1, 8, 8, 3}, DType::f32, *host, {.seed = 99}).to(device);
    std::vector<double> values = test::to_doubles(model.forward(x).front().scores.value());
    model.set_training(true);
    return values;
  }

  Device& device;
  nn::Init init;
  test::TinyNetwork model;
  train::Sgd optimizer;
  train::TrainingStep step;
  std::vector<Tensor> losses;
};

// A classifier trained on batches that are mixed with their reverse, each by another share.
struct MixedTraining {
  MixedTraining(Device& on, DType computed, bool capture)
      : device(on),
        dtype(computed),
        init(on, 7),
        model(kClasses, false, init),
        optimizer(train::Optimizer::create(model, adamw(computed))),
        average(model, 0.9),
        step(model, *optimizer, {.label_smoothing = 0.1, .capture = capture}, nullptr, &average) {
    model.set_training(true);
  }
  static train::Optimizer::Options adamw(DType dtype) {
    train::Optimizer::Options o;
    o.kind = train::Optimizer::Kind::adamw;
    o.schedule.base = 0.01;
    o.no_decay_1d = true;
    if (dtype == DType::f16) o.loss_scaling = {.initial = 1 << 24};
    return o;
  }
  void run(int i) {
    Tensor x = test::random_normal({4, 12, 12, 3}, dtype, device, {.seed = static_cast<uint64_t>(i + 1)});
    const double share = 0.9 - 0.1 * i;
    if (i % 2 == 0)
      kernels::blend_with_reversed(share, x);
    else
      kernels::swap_with_reversed(2, i, 5, 4, x);
    const std::vector<int64_t> classes{i % 4, 1, 3, (i + 1) % 4};
    step.run(
        x, Tensor::from<int64_t>({4}, classes, device), i, kTotalSteps,
        [&](const Tensor& total, const auto&) { losses.push_back(total.clone()); },
        test::from_doubles({1}, {share}, DType::f32, device));
  }
  std::vector<std::vector<double>> state() {
    const std::unique_ptr<Device> host = Device::create("cpu");
    std::vector<std::vector<double>> values;
    for (const auto& tensors : {nn::state_dict(model, *host), optimizer->state(*host), average.state(*host)})
      for (const NamedTensor& t : tensors) values.push_back(test::to_doubles(t.tensor));
    for (const Tensor& t : losses) values.push_back({t.item()});
    return values;
  }

  Device& device;
  DType dtype;
  nn::Init init;
  test::TinyClassifier model;
  std::unique_ptr<train::Optimizer> optimizer;
  train::WeightAverage average;
  train::TrainingStep step;
  std::vector<Tensor> losses;
};

// Depends on the step's number through the host.
class Scheduled final : public test::TinyNetwork {
 public:
  using TinyNetwork::TinyNetwork;
  bool follows_step() const override { return true; }
};

// Looks at a weight in every pass, which makes the host wait.
class Asking final : public test::TinyNetwork {
 public:
  using TinyNetwork::TinyNetwork;
  std::vector<models::Head> forward(const Var& image) override {
    const std::vector<float> weights = state().front().parameter->var.value().to_vector<float>();
    CHECK(std::isfinite(weights.front()));
    return TinyNetwork::forward(image);
  }
};
}  // namespace

TEST_CASE("where there are no graphs every step runs as usual, and says so") {
  const auto device = Device::create("cpu");
  Training t(*device, {});
  for (int i = 0; i < 4; ++i) t.run(i);
  CHECK(t.step.reason().find("no graphs") != std::string::npos);
  CHECK(t.step.graph() == nullptr);
}

TEST_CASE("a replayed step is an eager one, bit for bit: losses, weights, momentum, statistics, learning rate") {
  if (!Device::cuda_available()) return;
  const auto device = Device::create("cuda");
  device->set_deterministic(true);
  Training eager(*device, {.capture = false}), captured(*device, {});
  for (int i = 0; i < kTotalSteps; ++i) {
    eager.run(i);
    captured.run(i);
    CHECK(captured.step.reason().empty() == (i >= 2));
    if (i == 4) CHECK(eager.scores() == captured.scores());  // makes folded weights that later steps must outdate
  }
  CHECK(eager.step.reason().find("train.capture") != std::string::npos);
  CHECK(captured.loss_values() == eager.loss_values());
  CHECK(captured.state() == eager.state());
  CHECK(captured.scores() == eager.scores());
  CHECK(captured.optimizer.learning_rate().item() == eager.optimizer.learning_rate().item());
}

TEST_CASE("a replayed step on a mixed batch takes the share of that batch, bit for bit as an eager one") {
  if (!Device::cuda_available()) return;
  for (const DType dtype : {DType::f32, DType::f16}) {
    const auto device = Device::create("cuda");
    device->set_deterministic(true);
    MixedTraining eager(*device, dtype, false), captured(*device, dtype, true);
    for (int i = 0; i < kTotalSteps; ++i) {
      eager.run(i);
      captured.run(i);
      CHECK(captured.step.reason().empty() == (i >= 2));
    }
    CHECK(captured.state() == eager.state());
  }
}

TEST_CASE("another size of batch is trained eagerly first, then recorded") {
  if (!Device::cuda_available()) return;
  const auto device = Device::create("cuda");
  device->set_deterministic(true);
  Training eager(*device, {.capture = false}), captured(*device, {.eager_steps = 1});
  const std::vector<int64_t> sizes{8, 8, 6, 6, 6, 8};
  const std::vector<bool> replays{false, true, false, true, true, false};
  for (size_t i = 0; i < sizes.size(); ++i) {
    eager.run(static_cast<int>(i), sizes[i]);
    captured.run(static_cast<int>(i), sizes[i]);
    CAPTURE(i);
    CHECK(captured.step.reason().empty() == replays[i]);
  }
  CHECK(captured.state() == eager.state());
}

TEST_CASE("steps that the host has a part in are not recorded") {
  if (!Device::cuda_available()) return;
  const auto device = Device::create("cuda");
  nn::Init init(*device, 7);
  Scheduled model(kClasses, init);
  model.set_training(true);
  train::Sgd optimizer(model, recipe());
  train::TrainingStep step(model, optimizer, {});
  const Tensor x = Tensor::zeros({2, 8, 8, 3}, DType::f32, *device),
               labels = Tensor::zeros({2, 8, 8}, DType::u8, *device);
  for (int i = 0; i < 4; ++i) step.run(x, labels, i, kTotalSteps, nullptr);
  CHECK(step.reason().find("host computes") != std::string::npos);

  // A pass that asks the device for a value cannot be recorded; training goes on without.
  nn::Init same(*device, 7);
  Asking asking(kClasses, same);
  asking.set_training(true);
  train::Sgd its_optimizer(asking, recipe());
  train::TrainingStep its_step(asking, its_optimizer, {});
  for (int i = 0; i < 4; ++i) its_step.run(x, labels, i, kTotalSteps, nullptr);
  CHECK(its_step.reason().starts_with("cannot be captured: "));
  const std::unique_ptr<Device> host = Device::create("cpu");
  const auto values = [&](models::Model& m) {
    std::vector<std::vector<double>> all;
    for (const NamedTensor& t : nn::state_dict(m, *host)) all.push_back(test::to_doubles(t.tensor));
    return all;
  };
  CHECK(values(asking) == values(model));
}
