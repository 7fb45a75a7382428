// Training in 16 bits follows training in f32; overflow in f16 costs a step and nothing else.
#include <doctest/doctest.h>

#include <cmath>

#include "nn/state.h"
#include "tests/core/temporary_folder.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_network.h"
#include "train/precision.h"
#include "train/training_step.h"

namespace {
using namespace segrt;
constexpr int kClasses = 4, kSteps = 12;

train::Optimizer::Options recipe(train::Optimizer::Kind kind, DType dtype, double loss_scale) {
  train::Optimizer::Options o;
  o.kind = kind;
  const bool adam = kind != train::Optimizer::Kind::sgd;
  o.schedule = {.kind = kernels::LrSchedule::Kind::poly, .base = adam ? 0.01 : 0.05, .total = 5 * kSteps};
  o.weight_decay = 1e-3;
  o.clip_norm = 2;
  if (dtype == DType::f16) o.loss_scaling = {.initial = loss_scale, .rule = {.growth_interval = 5}};
  return o;
}

struct Training {
  Training(Device& on, DType computed, train::Optimizer::Kind kind, bool capture = false, double loss_scale = 1024)
      : device(on),
        dtype(computed),
        init(on, 7),
        model(kClasses, init),
        optimizer(train::Optimizer::create(model, recipe(kind, computed, loss_scale))),
        step(model, *optimizer, {.capture = capture}) {
    model.set_training(true);
  }
  // A step on batch i; what it learns is which of four colours a pixel has.
  void run(int i) {
    const std::unique_ptr<Device> host = Device::create("cpu");
    const int64_t size = 8;
    std::vector<uint8_t> classes(static_cast<size_t>(2 * size * size));
    std::vector<double> pixels;
    for (size_t p = 0; p < classes.size(); ++p) {
      classes[p] = static_cast<uint8_t>((p / 4 + static_cast<size_t>(i)) % kClasses);
      for (int c = 0; c < 3; ++c) pixels.push_back(classes[p] == c ? 2.0 : -0.5 + 0.03 * static_cast<double>(p % 7));
    }
    const Tensor x = test::from_doubles({2, size, size, 3}, pixels, dtype, *host);
    const Tensor labels = Tensor::from<uint8_t>({2, size, size}, classes, *host);
    step.run(x.to(device), labels.to(device), i, kSteps,
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
    for (const NamedTensor& t : optimizer->state(*host)) values.push_back(test::to_doubles(t.tensor));
    return values;
  }
  std::vector<std::vector<double>> parameters() {
    std::vector<std::vector<double>> values;
    model.visit_parameters(
        [&](const std::string&, nn::Parameter& p) { values.push_back(test::to_doubles(p.var.value())); });
    return values;
  }

  Device& device;
  DType dtype;
  nn::Init init;
  test::TinyNetwork model;
  std::unique_ptr<train::Optimizer> optimizer;
  train::TrainingStep step;
  std::vector<Tensor> losses;
};
}  // namespace

TEST_CASE("losses in tf32, bf16 and f16 follow those in f32 on every device") {
  for (const auto kind : {train::Optimizer::Kind::sgd, train::Optimizer::Kind::adamw})
    for (const auto& device : test::test_devices()) {
      CAPTURE(device->name());
      const auto losses = [&](const std::string& name) {
        const train::Precision precision = train::parse_precision(name);
        train::set_f32_products(*device, precision.tf32);
        Training t(*device, precision.dtype, kind);
        for (int i = 0; i < kSteps; ++i) t.run(i);
        return t.loss_values();
      };
      const std::vector<double> exact = losses("f32");
      CHECK(exact.back() < 0.7 * exact.front());
      // A value in bf16 is off by up to 2^-9, in f16 and (rounded operands) tf32 by 2^-11. Scores pass some six
      // roundings in a row and the loss is a mean of their differences; the errors of weights add up over the steps: 8
      // and, with the steps, 4 times that. Measured: below half of it.
      const auto follows = [&](const std::string& name, double rounding) {
        CAPTURE(name);
        const std::vector<double> found = losses(name);
        CHECK(std::abs(found.front() - exact.front()) <= 8 * rounding);
        CHECK(test::max_abs_difference(found, exact) <= 32 * rounding);
        return found;
      };
      follows("bf16", std::ldexp(1.0, -9));
      follows("f16", std::ldexp(1.0, -11));
      const std::vector<double> tf32 = follows("tf32", std::ldexp(1.0, -11));
      CHECK((tf32 == exact) == device->is_cpu());  // a CPU has no tf32
    }
}

TEST_CASE("after a step the copies of weights are the rounded weights, and no layer casts its own again") {
  for (const auto& device : test::test_devices())
    for (const DType dtype : {DType::bf16, DType::f16}) {
      CAPTURE(device->name());
      Training t(*device, dtype, train::Optimizer::Kind::sgd);
      t.run(0);
      t.run(1);
      int copies = 0;
      t.model.visit_parameters([&](const std::string& path, nn::Parameter& p) {
        CAPTURE(path);
        const Tensor copy = p.var.current_copy(dtype);
        CHECK(copy.defined() == (p.var.shape().rank() == 4));  // convolutions; norms and biases compute in f32
        if (!copy.defined()) return;
        ++copies;
        CHECK(test::to_doubles(copy) ==
              test::to_doubles(test::from_doubles(copy.shape(), test::to_doubles(p.var.value()), dtype, *device)));
      });
      CHECK(copies == 3);
    }
}

TEST_CASE("in 16 bits a replayed step is an eager one, bit for bit") {
  if (!Device::cuda_available()) return;
  for (const auto kind : {train::Optimizer::Kind::sgd, train::Optimizer::Kind::adam})
    for (const DType dtype : {DType::bf16, DType::f16}) {
      const auto device = Device::create("cuda");
      device->set_deterministic(true);
      // A scale so large that the first steps overflow: skipping is part of what is replayed.
      Training eager(*device, dtype, kind, false, 1 << 24), captured(*device, dtype, kind, true, 1 << 24);
      for (int i = 0; i < kSteps; ++i) {
        if (i == 7)  // somebody writes into a weight between two replays
          for (Training* t : {&eager, &captured}) {
            Tensor weight = t->model.state().front().parameter->var.value();
            weight.copy_from(test::random_normal(weight.shape(), DType::f32, *device, {.seed = 5, .std = 0.3}));
          }
        eager.run(i);
        captured.run(i);
        CHECK(captured.step.reason().empty() == (i >= 2));
      }
      CHECK(captured.loss_values() == eager.loss_values());
      CHECK(captured.state() == eager.state());
      if (dtype == DType::f16) {
        CHECK(captured.optimizer->skipped_steps().item() >= 3);  // some of them in replays
        CHECK(captured.optimizer->skipped_steps().item() < kSteps);
        CHECK(captured.optimizer->loss_scale().item() == eager.optimizer->loss_scale().item());
      }
    }
}

TEST_CASE("an overflow in f16 skips the step and halves the scale; training goes on") {
  for (const auto kind : {train::Optimizer::Kind::sgd, train::Optimizer::Kind::adam})
    for (const auto& device : test::test_devices()) {
      CAPTURE(device->name());
      const double huge = std::ldexp(1.0, 40);  // no gradient of a loss times this is finite in f16
      Training t(*device, DType::f16, kind, false, huge);
      const auto before = t.parameters();
      t.run(0);
      CHECK(t.parameters() == before);
      CHECK(t.optimizer->loss_scale().item() == huge / 2);
      CHECK(t.optimizer->skipped_steps().item() == 1);
      CHECK(t.optimizer->step_counter().item() == 1);  // of the schedule
      CHECK(std::isfinite(t.losses.back().item()));    // the loss itself was in order
      const std::unique_ptr<Device> host = Device::create("cpu");
      for (const NamedTensor& s : t.optimizer->state(*host)) {
        CAPTURE(s.name);
        if (s.name.find('/') != std::string::npos || s.name == "adam_updates")
          for (const double v : test::to_doubles(s.tensor)) CHECK(v == 0);
      }
      int steps = 1;
      while (t.parameters() == before && steps < 60) t.run(steps++);
      CHECK(t.optimizer->skipped_steps().item() == steps - 1);
      CHECK(t.optimizer->loss_scale().item() == std::ldexp(huge, 1 - steps));
      CHECK(steps < 40);
    }
}

TEST_CASE("loss scaling is resumed bit for bit, and starts anew after a training without it") {
  const TemporaryFolder folder;
  for (const auto& device : test::test_devices()) {
    CAPTURE(device->name());
    const std::unique_ptr<Device> host = Device::create("cpu");
    Training whole(*device, DType::f16, train::Optimizer::Kind::adam),
        part(*device, DType::f16, train::Optimizer::Kind::adam);
    for (int i = 0; i < 7; ++i) whole.run(i);
    CHECK(whole.optimizer->loss_scale().item() == 2048);  // five good steps
    write_safetensors(folder / "state.safetensors", whole.optimizer->state(*host));
    part.optimizer->load(SafetensorsFile(folder / "state.safetensors"), "");
    CHECK(part.optimizer->loss_scale().item() == 2048);
    const auto states = [&](Training& t) {
      std::vector<std::vector<double>> values;
      for (const NamedTensor& s : t.optimizer->state(*host)) values.push_back(test::to_doubles(s.tensor));
      return values;
    };
    CHECK(states(whole) == states(part));

    Training without(*device, DType::f32, train::Optimizer::Kind::adam);
    write_safetensors(folder / "without.safetensors", without.optimizer->state(*host));
    Training fresh(*device, DType::f16, train::Optimizer::Kind::adam);
    fresh.optimizer->load(SafetensorsFile(folder / "without.safetensors"), "");
    CHECK(fresh.optimizer->loss_scale().item() == 1024);
  }
}
