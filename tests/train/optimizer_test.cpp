// The optimizer of Dynamic Routing's recipe in float64: warm-up, poly, clipping before weight decay, exemptions,
// factors.
#include "train/optimizer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "kernels/elementwise.h"
#include "tests/support/source_dir.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_network.h"
#include "train/settings.h"

namespace {
using namespace segrt;

struct Reference {
  std::string name;
  std::vector<double> w, m, g;
  double lr_factor, weight_decay;
};

// 0.1 * w(k) * (1 - k/4000)^0.9, w(k) = 0.001 (1 - k/1000) + k/1000 for k < 1000, else 1.
double published_rate(int64_t k) {
  const double t = static_cast<double>(k);
  return 0.1 * (k < 1000 ? 0.001 * (1 - t / 1000) + t / 1000 : 1) * std::pow(1 - t / 4000, 0.9);
}

train::Sgd::Options recipe() {
  train::Sgd::Options o;
  o.schedule = {.kind = kernels::LrSchedule::Kind::poly,
                .base = 0.1,
                .power = 0.9,
                .total = 4000,
                .warmup_steps = 1000,
                .warmup_factor = 0.001};
  o.sgd.momentum = 0.9f;
  o.weight_decay = 0.03;
  o.clip_norm = 5;
  o.no_decay = {"bn1.weight", "bn1.bias", "bn2.weight"};
  o.lr_factors = {{"conv", 2.5}, {"conv2", 3}, {"head.bias", 0}};
  return o;
}

void one_step(std::vector<Reference>& parameters, double lr) {
  double squares = 0;
  for (const Reference& p : parameters)
    for (const double v : p.g) squares += v * v;
  const double clip = std::min(1.0, 5 / (std::sqrt(squares) + 1e-6));
  for (Reference& p : parameters)
    for (size_t i = 0; i < p.w.size(); ++i) {
      const double d = clip * p.g[i] + p.weight_decay * p.w[i];
      p.m[i] = 0.9 * p.m[i] + d;  // from zero, so that the first is d
      p.w[i] -= lr * p.lr_factor * p.m[i];
    }
}
}  // namespace

TEST_CASE(
    "SGD with decay exemptions, rate factors, clipping and warm-up equals the published formulas on every device") {
  for (const int64_t first : {0, 998, 1998})  // in, at the end of and after the warm-up
    for (auto& device : test::test_devices()) {
      CAPTURE(device->name());
      CAPTURE(first);
      nn::Init init(*device, 1);
      test::TinyNetwork net(3, init);
      train::Sgd sgd(net, recipe());
      Tensor counter = sgd.step_counter();
      counter.copy_from(Tensor::from<int64_t>({1}, std::vector<int64_t>{first}, *device));
      std::vector<Reference> expected;
      net.visit_parameters([&](const std::string& path, nn::Parameter& p) {
        const std::vector<double> w = test::to_doubles(p.var.value());
        const bool exempt = path == "bn1.weight" || path == "bn1.bias" || path == "bn2.weight";
        const double factor = path == "conv1.weight" ? 2.5 : path == "conv2.weight" ? 7.5 : path == "head.bias" ? 0 : 1;
        expected.push_back({path, w, std::vector<double>(w.size()), {}, factor, exempt ? 0 : 0.03});
      });
      REQUIRE(expected.size() == 8);
      for (int step = 0; step < 4; ++step) {
        size_t k = 0;
        net.visit_parameters([&](const std::string&, nn::Parameter& p) {
          // Small gradients in one step, so that clipping is idle there.
          const Tensor grad =
              test::random_normal(p.var.shape(), DType::f32, *device,
                                  {.seed = static_cast<uint64_t>(100 * step) + k, .std = step == 2 ? 0.01 : 1.0});
          expected[k++].g = test::to_doubles(grad);
          p.var.set_grad(grad);
        });
        sgd.step();
        const double lr = published_rate(first + step);
        one_step(expected, lr);
        CHECK(sgd.learning_rate().item() == doctest::Approx(lr).epsilon(1e-6));
      }
      size_t k = 0;
      net.visit_parameters([&](const std::string& path, nn::Parameter& p) {
        CAPTURE(path);
        CHECK(test::relative_l2(p.var.value(), expected[k++].w) < 1e-6);
      });
    }
}

TEST_CASE("an exemption or a factor that fits no parameter is refused") {
  auto device = Device::create("cpu");
  nn::Init init(*device, 1);
  test::TinyNetwork net(3, init);
  train::Sgd::Options o;
  o.no_decay = {"bn1.bias", "norm.weight"};
  CHECK(test::error_of([&] { train::Sgd(net, o); }) ==
        "optimizer: no_decay: \"norm.weight\" fits no trained parameter");
  o.no_decay = {};
  o.lr_factors = {{"gate_conv", 2.5}};
  CHECK(test::error_of([&] { train::Sgd(net, o); }) ==
        "optimizer: lr_factors: \"gate_conv\" fits no trained parameter");
}

TEST_CASE("Adam and AdamW with the schedule, clipping, factors and exemptions equal the published formulas") {
  for (const auto kind : {train::Optimizer::Kind::adam, train::Optimizer::Kind::adamw})
    for (auto& device : test::test_devices()) {
      CAPTURE(device->name());
      nn::Init init(*device, 1);
      test::TinyNetwork net(3, init);
      train::Optimizer::Options o = recipe();
      o.kind = kind;
      o.adam = {.beta1 = 0.5, .beta2 = 0.99, .eps = 1e-6};
      const auto optimizer = train::Optimizer::create(net, o);
      std::vector<Reference> expected;
      std::vector<std::vector<double>> v;
      net.visit_parameters([&](const std::string& path, nn::Parameter& p) {
        const std::vector<double> w = test::to_doubles(p.var.value());
        const bool exempt = path == "bn1.weight" || path == "bn1.bias" || path == "bn2.weight";
        const double factor = path == "conv1.weight" ? 2.5 : path == "conv2.weight" ? 7.5 : path == "head.bias" ? 0 : 1;
        expected.push_back({path, w, std::vector<double>(w.size()), {}, factor, exempt ? 0 : 0.03});
        v.emplace_back(w.size());
      });
      for (int step = 0; step < 3; ++step) {
        size_t k = 0;
        double squares = 0;
        net.visit_parameters([&](const std::string&, nn::Parameter& p) {
          const Tensor grad =
              test::random_normal(p.var.shape(), DType::f32, *device, {.seed = static_cast<uint64_t>(100 * step) + k});
          expected[k].g = test::to_doubles(grad);
          for (const double g : expected[k++].g) squares += g * g;
          p.var.set_grad(grad);
        });
        optimizer->step();
        const double clip = std::min(1.0, 5 / (std::sqrt(squares) + 1e-6));
        for (k = 0; k < expected.size(); ++k) {
          Reference& p = expected[k];
          const double rate = published_rate(step) * p.lr_factor;
          for (size_t i = 0; i < p.w.size(); ++i) {
            const double coupled = kind == train::Optimizer::Kind::adam ? p.weight_decay : 0;
            const double g = clip * p.g[i] + coupled * p.w[i];
            p.m[i] = 0.5 * p.m[i] + 0.5 * g;
            v[k][i] = 0.99 * v[k][i] + 0.01 * g * g;
            if (kind == train::Optimizer::Kind::adamw) p.w[i] -= rate * p.weight_decay * p.w[i];
            p.w[i] -= rate * p.m[i] / (1 - std::pow(0.5, step + 1)) /
                      (std::sqrt(v[k][i] / (1 - std::pow(0.99, step + 1))) + 1e-6);
          }
        }
      }
      size_t k = 0;
      net.visit_parameters([&](const std::string& path, nn::Parameter& p) {
        CAPTURE(path);
        CHECK(test::relative_l2(p.var.value(), expected[k++].w) < 1e-6);
      });
    }
}

TEST_CASE("AdamW without decay on parameters of one dimension equals an update by hand, on every device") {
  constexpr double kRate = 0.01, kDecay = 0.3, kBeta1 = 0.9, kBeta2 = 0.999, kEps = 1e-8;
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    nn::Init init(*device, 1);
    test::TinyNetwork net(3, init);
    train::Optimizer::Options o;
    o.kind = train::Optimizer::Kind::adamw;
    o.schedule.base = kRate;
    o.weight_decay = kDecay;
    o.no_decay_1d = true;
    const auto optimizer = train::Optimizer::create(net, o);
    struct ByHand {
      std::vector<double> w, m, v;
      bool decays;
    };
    std::vector<ByHand> expected;
    int decayed = 0;
    net.visit_parameters([&](const std::string& path, nn::Parameter& p) {
      const Tensor w = test::random_normal(p.var.shape(), DType::f32, *device, {.seed = expected.size() + 50});
      Tensor(p.var.value()).copy_from(w);  // scales and shifts that differ from 1 and 0 have something to decay
      const bool decays = path == "conv1.weight" || path == "conv2.weight" || path == "head.weight";
      decayed += decays;
      expected.push_back({test::to_doubles(w), std::vector<double>(static_cast<size_t>(w.numel())),
                          std::vector<double>(static_cast<size_t>(w.numel())), decays});
    });
    REQUIRE(expected.size() == 8);
    REQUIRE(decayed == 3);
    for (int step = 1; step <= 3; ++step) {
      size_t k = 0;
      net.visit_parameters([&](const std::string&, nn::Parameter& p) {
        const Tensor grad =
            test::random_normal(p.var.shape(), DType::f32, *device, {.seed = static_cast<uint64_t>(100 * step) + k});
        p.var.set_grad(grad);
        ByHand& e = expected[k++];
        const std::vector<double> g = test::to_doubles(grad);
        for (size_t i = 0; i < g.size(); ++i) {
          if (e.decays) e.w[i] *= 1 - kRate * kDecay;
          e.m[i] = kBeta1 * e.m[i] + (1 - kBeta1) * g[i];
          e.v[i] = kBeta2 * e.v[i] + (1 - kBeta2) * g[i] * g[i];
          const double m = e.m[i] / (1 - std::pow(kBeta1, step)), v = e.v[i] / (1 - std::pow(kBeta2, step));
          e.w[i] -= kRate * m / (std::sqrt(v) + kEps);
        }
      });
      optimizer->step();
    }
    size_t k = 0;
    net.visit_parameters([&](const std::string& path, nn::Parameter& p) {
      CAPTURE(path);
      CHECK(test::relative_l2(p.var.value(), expected[k++].w) < 1e-6);
    });
  }
}

TEST_CASE("DGMN2's ImageNet recipe decays matrices, kernels and position tables, and neither norms nor biases") {
  const Config config = Config::load(test::source_dir() + "/models/dgmn2_tiny_imagenet.toml",
                                     std::vector<std::string>{"model.classes=2", "train.warmup_lr=0.1"});
  const auto device = Device::create("cpu");
  nn::Init init(*device, 1);
  const auto model = models::build(config.table("model"), init);
  const auto optimizer = train::Optimizer::create(*model, train::train_settings(config).optimizer);
  model->visit_parameters([&](const std::string&, nn::Parameter& p) {
    Tensor value = p.var.value();
    kernels::fill(value, 2);
    p.var.set_grad(Tensor::zeros_like(p.var.value()));  // nothing but decay then moves a weight
  });
  optimizer->step();
  REQUIRE(optimizer->learning_rate().item() == doctest::Approx(0.1));
  int tables = 0, exempt = 0;
  model->visit_parameters([&](const std::string& path, nn::Parameter& p) {
    CAPTURE(path);
    const bool decays = p.var.shape().rank() > 1;
    tables += path.ends_with("rel_height") || path.ends_with("rel_width") ? decays : 0;
    exempt += !decays;
    if (path.ends_with(".bias")) CHECK_FALSE(decays);
    const std::vector<float> w = p.var.value().to_vector<float>();
    for (const size_t i : {size_t{0}, w.size() - 1})
      CHECK(w[i] == doctest::Approx(decays ? 2 * (1 - 0.1 * 0.05) : 2).epsilon(1e-6));
  });
  CHECK(tables == 16);
  CHECK(exempt > 80);
}
