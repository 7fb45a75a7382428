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

TEST_CASE("a schedule by epochs with linear warm-up that lags one epoch behind") {
  // Units of 2 steps: epochs 0 and 1 run at the rate for t = 0, epoch e at that for t = e - 1.
  const LrSchedule s{.kind = LrSchedule::Kind::cosine,
                     .base = 1e-3,
                     .total = 300,
                     .steps_per_unit = 2,
                     .end_lr = 1e-5,
                     .warmup_units = 5,
                     .warmup_lr = 1e-6,
                     .lag = 1};
  const auto cosine = [](double t) { return 1e-5 + 0.5 * (1e-3 - 1e-5) * (1 + std::cos(M_PI * t / 300)); };
  check_schedule(s, {{0, 1e-6},
                     {3, 1e-6},
                     {4, 1e-6 + (1e-3 - 1e-6) / 5},
                     {11, 1e-6 + 4 * (1e-3 - 1e-6) / 5},
                     {12, cosine(5)},
                     {301, cosine(149)},
                     {599, cosine(298)}});
}

TEST_CASE("poly and cosine lead to end_lr; poly with warm-up gives the rates of published DABNet logs") {
  const LrSchedule published{.kind = LrSchedule::Kind::poly,
                             .base = 0.025,
                             .total = 80000,
                             .end_lr = 1e-4,
                             .warmup_steps = 1000,
                             .warmup_factor = 0.1};
  // As logged, so to 4 digits and more.
  for (const auto& [step, lr] : std::vector<Point>{{0, 2.5e-3},
                                                   {1, 2.52247e-3},
                                                   {2, 2.54494e-3},
                                                   {49, 3.601e-3},
                                                   {99, 4.722e-3},
                                                   {999, 2.470e-2},
                                                   {9999, 2.218e-2},
                                                   {39999, 1.344e-2},
                                                   {79999, 1.010e-4}}) {
    CAPTURE(step);
    CHECK(kernels::learning_rate(published, step) == doctest::Approx(lr).epsilon(2.5e-4));
  }
  LrSchedule adam = published;
  adam.base = 1e-3;
  adam.warmup_steps = 0;
  CHECK(kernels::learning_rate(adam, 49) == doctest::Approx(9.995e-4).epsilon(5e-5));
  CHECK(kernels::learning_rate(adam, 9999) == doctest::Approx(8.981e-4).epsilon(5e-5));

  check_schedule(published,
                 {{0, 2.5e-3}, {500, 0.55 * (0.0249 * std::pow(79500.0 / 80000, 0.9) + 1e-4)}, {80000, 1e-4}});
  check_schedule({.kind = LrSchedule::Kind::cosine, .base = 2, .total = 4, .end_lr = 0.5},
                 {{0, 2}, {1, 1.25 + 0.75 * std::sqrt(0.5)}, {2, 1.25}, {4, 0.5}, {9, 0.5}});
}

TEST_CASE("advance_step counts on the device, but not where it is told to skip") {
  for (const auto& device : test_devices()) {
    Tensor step = from_doubles({1}, {41}, DType::i64, *device);
    kernels::advance_step(step);
    CHECK(step.item() == 42);
    kernels::advance_step(step, from_doubles({1}, {0}, DType::i32, *device));
    CHECK(step.item() == 43);
    kernels::advance_step(step, from_doubles({1}, {1}, DType::i32, *device));
    CHECK(step.item() == 43);
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

namespace {
// Many tensors, more than one table of pointers: empty ones, ones that are not aligned, gradients of every type. Every
// second one with a 16-bit gradient wants a rounded copy.
struct Weights {
  std::vector<Tensor> w, dw, copy;
  std::vector<float> lr_factor, weight_decay;

  explicit Weights(Device& device) {
    for (int i = 0; i < 190; ++i) {
      const int64_t n = i == 5 ? 4099 : (i == 8 ? 0 : 1 + i % 19);
      const DType dtype = i % 7 == 1 ? DType::bf16 : (i % 7 == 2 ? DType::f16 : DType::f32);
      const Tensor both = random_normal({n + 1}, DType::f32, device, {.seed = static_cast<uint64_t>(i)});
      w.push_back(i % 5 == 0 ? both.slice(1, n) : both.slice(0, n));
      dw.push_back(random_normal({n}, dtype, device, {.seed = static_cast<uint64_t>(1000 + i)}));
      copy.push_back(dtype != DType::f32 && i % 2 == 0 ? filled_with_nan({n}, dtype, device) : Tensor());
      lr_factor.push_back(i % 3 == 0 ? 10.0f : 1.0f);
      weight_decay.push_back(i % 2 == 0 ? 0.0f : 0.0625f);
    }
  }
  // That copies are w rounded to nearest, as a cast rounds.
  void check_copies() const {
    int copies = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      if (!copy[i].defined()) continue;
      ++copies;
      CHECK(to_doubles(copy[i]) ==
            to_doubles(from_doubles(w[i].shape(), to_doubles(w[i]), copy[i].dtype(), copy[i].device())));
    }
    CHECK(copies > 20);
  }
};

std::vector<double> flat(const std::vector<Tensor>& tensors) {
  std::vector<double> all;
  for (const Tensor& t : tensors)
    for (const double v : to_doubles(t)) all.push_back(v);
  return all;
}
std::vector<double> flat(const std::vector<std::vector<double>>& tensors) {
  std::vector<double> all;
  for (const auto& t : tensors) all.insert(all.end(), t.begin(), t.end());
  return all;
}
}  // namespace

TEST_CASE("sgd_step agrees with float64 over several steps of many tensors") {
  struct Setting {
    kernels::SgdOptions options;
    bool scaled;
  };
  const Setting settings[] = {{{.momentum = 0.9f}, false},
                              {{.momentum = 0.9f, .dampening = 0.25f}, true},
                              {{.momentum = 0.5f, .nesterov = true}, true},
                              {{.momentum = 0.0f}, false}};
  for (const auto& device : test_devices())
    for (const auto& [options, scaled] : settings) {
      CAPTURE(device->name());
      const Weights weights(*device);
      std::vector<kernels::SgdTensor> tensors;
      std::vector<Parameter> expected;
      std::vector<Tensor> momenta;
      for (size_t i = 0; i < weights.w.size(); ++i) {
        momenta.push_back(Tensor::zeros_like(weights.w[i]));
        tensors.push_back(
            {weights.w[i], weights.dw[i], momenta[i], weights.lr_factor[i], weights.weight_decay[i], weights.copy[i]});
        expected.push_back({to_doubles(weights.w[i]), to_doubles(momenta[i])});
      }
      const Tensor lr = from_doubles({1}, {0.125}, DType::f32, *device);
      const Tensor factor = scaled ? from_doubles({1}, {0.5}, DType::f32, *device) : Tensor();
      for (int step = 0; step < 3; ++step) {
        const uint64_t version = tensors[3].w.version();
        kernels::sgd_step(tensors, options, lr, factor);
        CHECK(tensors[3].w.version() > version);
        for (size_t i = 0; i < tensors.size(); ++i)
          sgd_reference(expected[i], to_doubles(tensors[i].dw), options,
                        0.125 * static_cast<double>(tensors[i].lr_factor), static_cast<double>(tensors[i].weight_decay),
                        scaled ? 0.5 : 1);
      }
      std::vector<std::vector<double>> w, m;
      for (const Parameter& p : expected) w.push_back(p.w), m.push_back(p.m);
      CHECK(relative_l2(flat(weights.w), flat(w)) <= tolerance(DType::f32, 3));
      CHECK(relative_l2(flat(momenta), flat(m)) <= tolerance(DType::f32, 3));
      weights.check_copies();
    }
}

TEST_CASE("adam_step agrees with float64 over several steps of many tensors, coupled and decoupled") {
  struct Setting {
    kernels::AdamOptions options;
    bool scaled;
    double first_update;  // updates before
  };
  const Setting settings[] = {{{}, false, 0},
                              {{.beta1 = 0.5}, true, 0},
                              {{.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3, .decoupled_decay = true}, true, 0},
                              {{.decoupled_decay = true}, false, 7}};
  for (const auto& device : test_devices())
    for (const auto& [o, scaled, first_update] : settings) {
      CAPTURE(device->name());
      const Weights weights(*device);
      std::vector<kernels::AdamTensor> tensors;
      std::vector<Tensor> ms, vs;
      std::vector<std::vector<double>> w, m, v;
      for (size_t i = 0; i < weights.w.size(); ++i) {
        ms.push_back(Tensor::zeros_like(weights.w[i]));
        vs.push_back(Tensor::zeros_like(weights.w[i]));
        tensors.push_back({weights.w[i], weights.dw[i], ms[i], vs[i], weights.lr_factor[i], weights.weight_decay[i],
                           weights.copy[i]});
        w.push_back(to_doubles(weights.w[i]));
        m.emplace_back(w.back().size());
        v.emplace_back(w.back().size());
      }
      const Tensor lr = from_doubles({1}, {0.125}, DType::f32, *device);
      const Tensor factor = scaled ? from_doubles({1}, {0.5}, DType::f32, *device) : Tensor();
      Tensor updates = from_doubles({1}, {first_update}, DType::i64, *device);
      for (int step = 0; step < 4; ++step) {
        const uint64_t version = tensors[3].w.version();
        kernels::adam_step(tensors, o, lr, updates, factor);
        CHECK(tensors[3].w.version() > version);
        kernels::advance_step(updates);
        const double k = first_update + step + 1;
        for (size_t t = 0; t < tensors.size(); ++t) {
          const std::vector<double> dw = to_doubles(tensors[t].dw);
          const double rate = 0.125 * static_cast<double>(tensors[t].lr_factor);
          const double decay = static_cast<double>(tensors[t].weight_decay);
          for (size_t i = 0; i < w[t].size(); ++i) {
            double g = (scaled ? 0.5 : 1) * dw[i];
            if (o.decoupled_decay)
              w[t][i] *= 1 - rate * decay;
            else
              g += decay * w[t][i];
            m[t][i] = o.beta1 * m[t][i] + (1 - o.beta1) * g;
            v[t][i] = o.beta2 * v[t][i] + (1 - o.beta2) * g * g;
            w[t][i] -= rate * (m[t][i] / (1 - std::pow(o.beta1, k))) /
                       (std::sqrt(v[t][i] / (1 - std::pow(o.beta2, k))) + o.eps);
          }
        }
      }
      CHECK(relative_l2(flat(weights.w), flat(w)) <= tolerance(DType::f32, 8));
      CHECK(relative_l2(flat(ms), flat(m)) <= tolerance(DType::f32, 4));
      CHECK(relative_l2(flat(vs), flat(v)) <= tolerance(DType::f32, 4));
      weights.check_copies();
    }
}

TEST_CASE("an update that is skipped changes nothing") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const Tensor lr = from_doubles({1}, {0.125}, DType::f32, *device);
    const Tensor nan = filled_with_nan({1}, DType::f32, *device), updates = Tensor::zeros({1}, DType::i64, *device);
    for (const double skip : {0.0, 1.0}) {
      const Tensor skipped = from_doubles({1}, {skip}, DType::i32, *device);
      const Tensor w = random_normal({70}, DType::f32, *device),
                   state = random_uniform({70}, DType::f32, *device, 1, 2);
      const Tensor dw = random_normal({70}, DType::f16, *device), copy = random_normal({70}, DType::f16, *device);
      const auto values = [&] { return std::vector{to_doubles(w), to_doubles(state), to_doubles(copy)}; };
      const auto before = values();
      std::vector<kernels::SgdTensor> sgd{{.w = w, .dw = dw, .momentum = state, .copy = copy}};
      kernels::sgd_step(sgd, {}, lr, nan, skipped);
      CHECK((values() == before) == (skip != 0));
      std::vector<kernels::AdamTensor> adam{{.w = w, .dw = dw, .m = state, .v = state.clone(), .copy = copy}};
      kernels::adam_step(adam, {}, lr, updates, nan, skipped);
      CHECK((values() == before) == (skip != 0));
    }
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
    const Tensor flag = Tensor::zeros({1}, DType::i32, *device);
    bad = {{.w = two, .dw = half, .momentum = two, .copy = two}};
    CHECK(error_of([&] { kernels::sgd_step(bad, {}, one, Tensor(), flag); }).find("copy") != std::string::npos);
    CHECK(error_of([&] { kernels::sgd_step(bad, {}, one, flag); }) == "sgd_step: factor: expected f32, got i32");
    std::vector<kernels::AdamTensor> adam = {{.w = two, .dw = two, .m = two, .v = one}};
    CHECK(error_of([&] { kernels::adam_step(adam, {}, one, step, Tensor()); }).starts_with("adam_step: tensors[0]: "));
    CHECK(error_of([&] { kernels::adam_step(adam, {.beta2 = 1}, one, step, Tensor()); }) ==
          "adam_step: beta2: expected a number in [0, 1), got 1");
    CHECK(error_of([&] { kernels::adam_step(adam, {}, one, flag, Tensor()); }) ==
          "adam_step: updates: expected i64, got i32");
    bad.clear();
    CHECK(error_of([&] { kernels::sgd_step(bad, {}, two, Tensor()); }) == "sgd_step: lr: expected [1], got [2]");
  }
}
