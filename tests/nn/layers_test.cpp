#include "nn/layers.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "autograd/elementwise.h"
#include "core/op_event.h"
#include "core/op_profile.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_network.h"

namespace {
using namespace segrt;
using test::random_normal;

// Gives a batch norm statistics and affine parameters that do something.
void disturb(nn::Module& module, Device& device) {
  uint64_t seed = 100;
  module.visit_buffers([&](const std::string& path, nn::Buffer& b) {
    if (path.ends_with("running_mean"))
      b.tensor.copy_from(random_normal(b.tensor.shape(), DType::f32, device, {.seed = ++seed}));
    if (path.ends_with("running_var"))
      b.tensor.copy_from(test::random_uniform(b.tensor.shape(), DType::f32, device, 0.5, 2, ++seed));
  });
  module.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    if (path.find("bn") == std::string::npos) return;
    Tensor t = p.var.value();
    t.copy_from(random_normal(t.shape(), DType::f32, device, {.seed = ++seed, .mean = 1, .std = 0.3}));
  });
}
}  // namespace

TEST_CASE("folding batch norm into the convolution changes nothing but rounding") {
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    nn::Init init(*device, 3);
    test::TinyNetwork net(5, init);
    disturb(net, *device);
    const Var x = random_normal({1, 7, 6, 3}, DType::f32, *device);
    const Var recorded = net.forward(x).front().scores;  // gradients on: convolution and norm run apart
    REQUIRE(recorded.needs_grad());
    const NoGrad no_grad(*device);
    const Var folded = net.forward(x).front().scores;
    CHECK_FALSE(folded.needs_grad());
    CHECK(test::relative_l2(folded.value(), recorded.value()) < 1e-6);
  }
}

TEST_CASE("in training, convolution and batch norm as one operator are the two one after the other") {
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    const auto run = [&](bool observed, bool biased) {
      nn::Init init(*device, 3);
      nn::Conv2d conv({.in = 3, .out = 8, .padding = 1, .bias = biased, .bias_init = nn::Conv2d::BiasInit::uniform},
                      init);
      nn::BatchNorm bn({.channels = 8}, init);
      int events = 0;
      if (observed) device->observer = [&](const LayerEvent&) { ++events; };  // sees both, so they run apart
      const Var x = Var::parameter(random_normal({2, 5, 6, 3}, DType::f32, *device));
      const Var y = nn::conv_bn(conv, bn, x, nn::Act::relu);
      device->observer = nullptr;
      CHECK(events == (observed ? 2 : 0));
      backward(autograd::mean(y));
      std::vector<std::vector<double>> values{test::to_doubles(y.value()), test::to_doubles(x.grad()),
                                              test::to_doubles(conv.weight().grad()),
                                              test::to_doubles(bn.weight().grad()), test::to_doubles(bn.bias().grad())};
      bn.visit_buffers([&](const std::string&, nn::Buffer& b) { values.push_back(test::to_doubles(b.tensor)); });
      return values;
    };
    for (const bool biased : {false, true}) {
      CAPTURE(biased);
      const auto together = run(false, biased);
      CHECK(together.size() == 8);
      CHECK(together == run(true, biased));
    }
  }
}

TEST_CASE("convolutions that write into their concatenation's map write what concat_channels would copy") {
  for (auto& device : test::test_devices())
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const nn::Act act : {nn::Act::relu, nn::Act::none, nn::Act::silu}) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(static_cast<int>(act));
        nn::Init init(*device, 3);
        nn::Conv2d a({.in = 64, .out = 64, .padding = 1}, init),
            b({.in = 3, .out = 5, .kernel = 1, .bias = true}, init);
        nn::BatchNorm bn_a({.channels = 64}, init), bn_b({.channels = 5}, init);
        disturb(bn_a, *device);
        disturb(bn_b, *device);
        for (nn::BatchNorm* bn : {&bn_a, &bn_b}) bn->set_training(false);
        const Var x = random_normal({2, 6, 7, 64}, dtype, *device), z = random_normal({2, 6, 7, 3}, dtype, *device);
        const auto joined = [&] { return nn::concat_conv_bn({{a, bn_a, x, act}, {b, bn_b, z, act}}); };
        const auto apart = [&] {
          return autograd::concat_channels({nn::conv_bn(a, bn_a, x, act), nn::conv_bn(b, bn_b, z, act)});
        };
        const Var recorded = joined();
        CHECK(recorded.needs_grad());
        CHECK(test::to_doubles(recorded.value()) == test::to_doubles(apart().value()));
        const NoGrad no_grad(*device);
        OpProfile profile(*device);
        const Var y = joined();
        profile.stop();
        const auto slices = std::count_if(profile.spans().begin(), profile.spans().end(),
                                          [](const ProfileSpan& s) { return s.name == "conv2d_slice"; });
        CHECK(slices == 2);
        CHECK(test::to_doubles(y.value()) == test::to_doubles(apart().value()));
        // Who watches sees both maps.
        int layers = 0;
        device->observer = [&](const LayerEvent&) { ++layers; };
        CHECK(test::to_doubles(joined().value()) == test::to_doubles(y.value()));
        device->observer = nullptr;
        CHECK(layers == 2);
        std::vector<std::string> operators;
        device->op_observer = [&](const OpEvent& event) { operators.emplace_back(event.op); };
        joined();
        device->op_observer = nullptr;
        CHECK(std::count(operators.begin(), operators.end(), "conv2d") == 2);
        CHECK(operators.back() == "concat_channels");
        bn_b.set_training(true);
        CHECK(joined().shape() == y.shape());
        CHECK(bn_b.batches().item() == 1);
      }
}

TEST_CASE("folded weights follow the parameters they were made from") {
  auto device = Device::create("cpu");
  nn::Init init(*device, 3);
  test::TinyNetwork net(4, init);
  const Var x = random_normal({1, 6, 6, 3}, DType::f32, *device);
  const NoGrad no_grad(*device);
  const Tensor before = net.forward(x).front().scores.value();
  disturb(net, *device);
  const Tensor after = net.forward(x).front().scores.value();
  CHECK(test::relative_l2(after, before) > 0.01);
  device->set_grad_enabled(true);
  CHECK(test::relative_l2(after, net.forward(x).front().scores.value()) < 1e-6);
  device->set_grad_enabled(false);
}

TEST_CASE("the emulated or real GPU computes what the CPU computes, gradients included") {
  auto devices = test::test_devices();
  std::vector<std::vector<double>> losses(devices.size()), gradients(devices.size());
  for (size_t d = 0; d < devices.size(); ++d) {
    Device& device = *devices[d];
    nn::Init init(device, 3);
    test::TinyNetwork net(4, init);
    net.set_training(true);
    const models::Head head = net.forward(random_normal({2, 9, 8, 3}, DType::f32, device)).front();
    const Tensor labels = test::random_labels({2, 9, 8}, DType::u8, device, 4);
    const Var loss = nn::segmentation_loss(head.scores, head.up, labels).loss;
    losses[d].push_back(loss.value().item());
    backward(loss);
    net.visit_parameters([&](const std::string&, nn::Parameter& p) {
      for (const double v : test::to_doubles(p.var.grad())) gradients[d].push_back(v);
    });
    CHECK(std::abs(losses[d][0] - losses[0][0]) < 1e-5 * losses[0][0]);
    CHECK(test::relative_l2(gradients[d], gradients[0]) < 1e-5);
  }
}

TEST_CASE("initial weights have the stated distribution and depend on the seed alone") {
  auto device = Device::create("cpu");
  nn::Init init(*device, 5), again(*device, 5), other(*device, 6);
  const Tensor w = init.normal({64, 3, 3, 32}, 0.25);
  CHECK(test::to_doubles(again.normal({64, 3, 3, 32}, 0.25)) == test::to_doubles(w));
  CHECK(test::to_doubles(other.normal({64, 3, 3, 32}, 0.25)) != test::to_doubles(w));
  CHECK(test::to_doubles(init.normal({64, 3, 3, 32}, 0.25)) != test::to_doubles(w));  // the next stream
  double sum = 0, squares = 0;
  for (const double v : test::to_doubles(w)) {
    sum += v;
    squares += v * v;
  }
  const double n = static_cast<double>(w.numel());
  CHECK(std::abs(sum / n) < 4 * 0.25 / std::sqrt(n));
  CHECK(std::abs(std::sqrt(squares / n) / 0.25 - 1) < 4 / std::sqrt(2 * n));
  for (const double v : test::to_doubles(init.uniform({1000}, -0.5, 0.25))) CHECK((v >= -0.5 && v < 0.25));
}

TEST_CASE("a convolution's weights start with the variance of its fan out, or of its fan in within a group") {
  auto device = Device::create("cpu");
  nn::Init init(*device, 5);
  const auto measured = [&](const nn::Conv2d::Options& o) {
    const nn::Conv2d conv(o, init);
    double squares = 0;
    for (const double v : test::to_doubles(conv.weight().value())) squares += v * v;
    const double n = static_cast<double>(conv.weight().value().numel());
    return std::pair{std::sqrt(squares / n), 4 / std::sqrt(2 * n)};  // and four times its relative deviation
  };
  struct Case {
    nn::Conv2d::Options options;
    double std;
  };
  constexpr auto kFanIn = nn::Conv2d::WeightInit::fan_in;
  for (const Case& c :
       {Case{{.in = 24, .out = 120, .kernel = 3}, std::sqrt(2.0 / (9 * 120))},
        Case{{.in = 24, .out = 120, .kernel = 3, .weight_init = kFanIn}, std::sqrt(2.0 / (9 * 24))},
        Case{{.in = 96, .out = 48, .kernel = 1, .weight_init = kFanIn}, std::sqrt(2.0 / 96)},
        Case{{.in = 512, .out = 512, .kernel = 3, .groups = 512, .weight_init = kFanIn}, std::sqrt(2.0 / 9)}}) {
    const auto [std, deviation] = measured(c.options);
    CAPTURE(c.std);
    CHECK(std::abs(std / c.std - 1) < deviation);
  }
}

TEST_CASE("bf16 activations: parameters stay float32, and gradients arrive in the type that their layer computes in") {
  auto device = Device::create("cpu");
  nn::Init init(*device, 3);
  test::TinyNetwork net(4, init);
  net.set_training(true);
  const Tensor x32 = random_normal({1, 8, 8, 3}, DType::f32, *device);
  Tensor x16 = Tensor::empty(x32.shape(), DType::bf16, *device);
  kernels::cast(x32, x16);
  const Tensor labels = test::random_labels({1, 8, 8}, DType::u8, *device, 4);
  std::vector<double> gradients[2];
  for (const Tensor& x : {x32, x16}) {
    net.clear_grads();
    const models::Head head = net.forward(x).front();
    CHECK(head.scores.dtype() == x.dtype());
    backward(nn::segmentation_loss(head.scores, head.up, labels).loss);
    net.visit_parameters([&](const std::string& path, nn::Parameter& p) {
      CAPTURE(path);
      CHECK(p.var.dtype() == DType::f32);
      const bool multiplies = p.var.value().rank() > 1;  // weights of convolutions; norms and biases stay float32
      CHECK(p.var.grad().dtype() == (multiplies ? x.dtype() : DType::f32));
      for (const double v : test::to_doubles(p.var.grad())) gradients[x.dtype() == DType::bf16].push_back(v);
    });
  }
  CHECK(test::relative_l2(gradients[1], gradients[0]) <
        0.1);  // a few roundings of 2^-9 over five layers, amplified by ReLU flips
}

TEST_CASE("layer norm starts as the identity's affine part, and both its forms agree") {
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    nn::Init init(*device, 3);
    nn::LayerNorm norm({.channels = 24, .eps = 1e-6}, init);
    const Var x = random_normal({2, 3, 5, 24}, DType::f32, *device, {.seed = 1, .mean = 3, .std = 2});
    const Var branch = random_normal({2, 3, 5, 24}, DType::f32, *device, {.seed = 2});
    const NoGrad no_grad(*device);
    const std::vector<double> y = test::to_doubles(norm.forward(x).value());
    for (size_t row = 0; row < 30; ++row) {
      double mean = 0, squares = 0;
      for (size_t c = 0; c < 24; ++c) {
        mean += y[row * 24 + c] / 24;
        squares += y[row * 24 + c] * y[row * 24 + c] / 24;
      }
      CHECK(std::abs(mean) < 1e-6);
      CHECK(squares == doctest::Approx(1).epsilon(1e-5));
    }
    const auto [sum, normed] = norm.forward(x, branch);
    CHECK(test::to_doubles(sum.value()) == test::to_doubles(autograd::add(x, branch).value()));
    CHECK(test::to_doubles(normed.value()) == test::to_doubles(norm.forward(sum).value()));
  }
}

TEST_CASE("truncated normal values stay within the bound and have the truncated distribution's variance") {
  const auto cpu = Device::create("cpu");
  nn::Init init(*cpu, 5);
  const std::vector<double> wide = test::to_doubles(init.truncated_normal({40000}, 0.02, 2));
  const std::vector<double> cut = test::to_doubles(init.truncated_normal({40000}, 1, 1));
  const auto variance = [](const std::vector<double>& v) {
    double squares = 0;
    for (const double x : v) squares += x * x / static_cast<double>(v.size());
    return squares;
  };
  CHECK(std::sqrt(variance(wide)) == doctest::Approx(0.02).epsilon(0.02));
  CHECK(*std::max_element(cut.begin(), cut.end()) <= 1);
  CHECK(*std::min_element(cut.begin(), cut.end()) >= -1);
  // 1 - 2 phi(1) / (2 Phi(1) - 1)
  CHECK(variance(cut) == doctest::Approx(1 - 2 * 0.2419707 / 0.6826895).epsilon(0.02));
}

TEST_CASE("the two layers of an MLP as one operator are the two one after the other") {
  const auto cpu = Device::create("cpu");
  nn::Init init(*cpu, 3);
  nn::Linear first({.in = 6, .out = 24, .weight_std = 0.5}, init), second({.in = 24, .out = 6}, init);
  const Var x = random_normal({3, 5, 6}, DType::f32, *cpu);
  const std::vector<double> fused = test::to_doubles(nn::mlp(first, second, x).value());
  int layers = 0;
  cpu->observer = [&](const LayerEvent& e) { layers += e.kind == "linear"; };
  const std::vector<double> apart = test::to_doubles(nn::mlp(first, second, x).value());
  CHECK(layers == 2);
  CHECK(test::relative_l2(fused, apart) < 1e-6);
}
