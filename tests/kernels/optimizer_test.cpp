#include "kernels/optimizer.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::test;
using kernels::LrSchedule;

namespace {

struct Point {
  int64_t step;
  double lr;  // by hand from the formula
};

void check_schedule(const LrSchedule& s, const std::vector<Point>& points) {
  for (const auto& [step, lr] : points) {
    CAPTURE(step);
    CHECK(kernels::learning_rate(s, step) == doctest::Approx(lr).epsilon(1e-12));
    for (const auto& device : test_devices()) {
      CAPTURE(device->name());
      const Tensor counter = from_doubles({1}, {static_cast<double>(step)}, DType::i64, *device);
      Tensor rate = filled_with_nan({1}, DType::f32, *device);
      kernels::compute_learning_rate(s, counter, rate);
      CHECK(rate.item() == static_cast<double>(static_cast<float>(kernels::learning_rate(s, step))));
    }
  }
}

struct Parameter {
  std::vector<double> w, m;
};
// PyTorch's documented SGD, in float64.
void sgd_reference(Parameter& p, const std::vector<double>& dw, const kernels::SgdOptions& o, double lr, double decay,
                   double clip) {
  for (size_t i = 0; i < p.w.size(); ++i) {
    const double g = clip * dw[i] + decay * p.w[i];
    p.m[i] = static_cast<double>(o.momentum) * p.m[i] + (1 - static_cast<double>(o.dampening)) * g;
    p.w[i] -= lr * (o.nesterov ? g + static_cast<double>(o.momentum) * p.m[i] : p.m[i]);
  }
}
}  // namespace

TEST_CASE("poly schedule: (1 - step/total)^power, zero from the end on") {
  check_schedule({.kind = LrSchedule::Kind::poly, .base = 0.01, .power = 0.9, .total = 100},
                 {{0, 0.01},
                  {1, 0.01 * 0.9909954834128342},  // 0.99^0.9 = exp(0.9 * -0.01005033585350145)
                  {50, 0.01 * 0.5358867312681466},
                  {99, 0.01 * 0.015848931924611134},
                  {100, 0},
                  {250, 0}});
}

TEST_CASE("step schedule: gamma per step_size units of steps_per_unit steps") {
  check_schedule({.kind = LrSchedule::Kind::step, .base = 0.5, .gamma = 0.1, .step_size = 2, .steps_per_unit = 10},
                 {{0, 0.5}, {19, 0.5}, {20, 0.05}, {39, 0.05}, {40, 0.005}, {1000, 0.5e-50}});
}

TEST_CASE("cosine and constant schedules, floor and warm-up") {
  check_schedule(
      {.kind = LrSchedule::Kind::cosine, .base = 2, .total = 4, .steps_per_unit = 3},
      {{0, 2}, {2, 2}, {3, 1 + std::sqrt(0.5)}, {6, 1}, {9, 1 - std::sqrt(0.5)}, {11, 1 - std::sqrt(0.5)}, {40, 0}});
  check_schedule({.base = 0.3}, {{0, 0.3}, {123456789, 0.3}});
  check_schedule({.kind = LrSchedule::Kind::poly, .base = 1, .power = 1, .total = 10, .min_lr = 0.25},
                 {{0, 1}, {7, 0.3}, {8, 0.25}, {10, 0.25}, {11, 0.25}});
  // 0.1 * (1 - step/4) + step/4 of the poly rate.
  check_schedule(
      {.kind = LrSchedule::Kind::poly, .base = 1, .power = 1, .total = 10, .warmup_steps = 4, .warmup_factor = 0.1},
      {{0, 0.1}, {1, 0.9 * 0.325}, {2, 0.8 * 0.55}, {3, 0.7 * 0.775}, {4, 0.6}, {10, 0}});
}

TEST_CASE("advance_step counts on the device") {
  for (const auto& device : test_devices()) {
    Tensor step = from_doubles({1}, {41}, DType::i64, *device);
    kernels::advance_step(step);
    CHECK(step.item() == 42);
  }
}

TEST_CASE("compute_clip is min(1, max_norm / norm)") {
  for (const auto& device : test_devices()) {
    Tensor clip = filled_with_nan({1}, DType::f32, *device);
    kernels::compute_clip(from_doubles({1}, {4}, DType::f32, *device), 1, clip);
    CHECK(clip.item() == doctest::Approx(0.25).epsilon(1e-6));
    kernels::compute_clip(from_doubles({1}, {0.5}, DType::f32, *device), 1, clip);
    CHECK(clip.item() == 1);
    kernels::compute_clip(from_doubles({1}, {0}, DType::f32, *device), 1, clip);
    CHECK(clip.item() == 1);
  }
}

TEST_CASE("sgd_step agrees with float64 over several steps of many tensors") {
  struct Setting {
    kernels::SgdOptions options;
    bool clip;
  };
  const Setting settings[] = {{{.momentum = 0.9f}, false},
                              {{.momentum = 0.9f, .dampening = 0.25f}, true},
                              {{.momentum = 0.5f, .nesterov = true}, true},
                              {{.momentum = 0.0f}, false}};
  for (const auto& device : test_devices())
    for (const auto& [options, clipped] : settings) {
      CAPTURE(device->name());
      std::vector<kernels::SgdTensor> tensors;
      std::vector<Parameter> expected;
      for (int i = 0; i < 190; ++i) {  // more than one table of pointers
        const int64_t n = i == 5 ? 4099 : (i == 8 ? 0 : 1 + i % 19);
        const DType dtype = i % 7 == 1 ? DType::bf16 : (i % 7 == 2 ? DType::f16 : DType::f32);
        Tensor w = random_normal({n + 1}, DType::f32, *device, {.seed = static_cast<uint64_t>(i)});
        w = i % 5 == 0 ? w.slice(1, n) : w.slice(0, n);  // some not aligned
        tensors.push_back({.w = w,
                           .dw = random_normal({n}, dtype, *device, {.seed = static_cast<uint64_t>(1000 + i)}),
                           .momentum = Tensor::zeros({n}, DType::f32, *device),
                           .lr_factor = i % 3 == 0 ? 10.0f : 1.0f,
                           .weight_decay = i % 2 == 0 ? 0.0f : 0.0625f});
        expected.push_back({to_doubles(w), std::vector<double>(static_cast<size_t>(n))});
      }
      const Tensor lr = from_doubles({1}, {0.125}, DType::f32, *device);
      const Tensor clip = clipped ? from_doubles({1}, {0.5}, DType::f32, *device) : Tensor();
      for (int step = 0; step < 3; ++step) {
        const uint64_t version = tensors[3].w.version();
        kernels::sgd_step(tensors, options, lr, clip);
        CHECK(tensors[3].w.version() > version);
        for (size_t i = 0; i < tensors.size(); ++i)
          sgd_reference(expected[i], to_doubles(tensors[i].dw), options,
                        0.125 * static_cast<double>(tensors[i].lr_factor), static_cast<double>(tensors[i].weight_decay),
                        clipped ? 0.5 : 1);
      }
      std::vector<double> w, m, expected_w, expected_m;
      for (size_t i = 0; i < tensors.size(); ++i) {
        for (const double v : to_doubles(tensors[i].w)) w.push_back(v);
        for (const double v : to_doubles(tensors[i].momentum)) m.push_back(v);
        expected_w.insert(expected_w.end(), expected[i].w.begin(), expected[i].w.end());
        expected_m.insert(expected_m.end(), expected[i].m.begin(), expected[i].m.end());
      }
      CHECK(relative_l2(w, expected_w) <= tolerance(DType::f32, 3));
      CHECK(relative_l2(m, expected_m) <= tolerance(DType::f32, 3));
    }
}

TEST_CASE("the optimizer refuses wrong arguments by name") {
  CHECK(kernels::learning_rate({.base = 1}, 0) == 1);
  CHECK(error_of([] { kernels::learning_rate({.total = 0}, 0); }) ==
        "learning_rate: total: expected at least 1, got 0");
  CHECK(error_of([] { kernels::learning_rate({}, -1); }) == "learning_rate: step: expected at least 0, got -1");
  for (const auto& device : test_devices()) {
    Tensor one = Tensor::zeros({1}, DType::f32, *device), step = Tensor::zeros({1}, DType::i64, *device);
    Tensor two = Tensor::zeros({2}, DType::f32, *device), half = Tensor::zeros({2}, DType::bf16, *device);
    CHECK(error_of([&] { kernels::compute_learning_rate({}, one, one); }) ==
          "compute_learning_rate: step: expected i64, got f32");
    CHECK(error_of([&] { kernels::advance_step(two); }) == "advance_step: step: expected [1], got [2]");
    CHECK(error_of([&] { kernels::compute_clip(one, 0, one); }) ==
          "compute_clip: max_norm: expected a number > 0, got 0");
    std::vector<kernels::SgdTensor> bad = {{.w = two, .dw = two, .momentum = two},
                                           {.w = half, .dw = two, .momentum = two}};
    CHECK(error_of([&] { kernels::sgd_step(bad, {}, one, Tensor()); }) ==
          "sgd_step: tensors[1]: w: expected f32, got bf16");
    bad = {{.w = two, .dw = one, .momentum = two}};
    CHECK(error_of([&] { kernels::sgd_step(bad, {}, one, Tensor()); }) ==
          "sgd_step: tensors[0]: dw: expected [2], got [1]");
    bad.clear();
    CHECK(error_of([&] { kernels::sgd_step(bad, {}, two, Tensor()); }) == "sgd_step: lr: expected [1], got [2]");
  }
}
