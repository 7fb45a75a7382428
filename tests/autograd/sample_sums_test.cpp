// Gradients of weights as f64 sums of samples' parts: the same however the samples of a batch are spread.
#include "autograd/sample_sums.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "autograd/conv.h"
#include "autograd/deform.h"
#include "autograd/deform_attention.h"
#include "autograd/elementwise.h"
#include "autograd/layer_norm.h"
#include "autograd/norm.h"
#include "autograd/routing.h"
#include "tests/support/tensors.h"

namespace {
using namespace segrt;
using namespace segrt::autograd;
using Vars = std::vector<Var>;

constexpr int64_t kSamples = 5;

// An operator's value from samples [N,...] and weights.
struct Case {
  const char* name;
  std::vector<Shape> samples, weights;
  std::function<Var(const Vars& samples, const Vars& weights)> f;
};

Tensor random(const Shape& shape, uint64_t seed, Device& device) {
  return test::random_normal(shape, DType::f32, device, {.seed = seed, .std = 0.5});
}

Shape batch_of(const Shape& sample) {
  std::vector<int64_t> dims{kSamples};
  dims.insert(dims.end(), sample.dims().begin(), sample.dims().end());
  return Shape(dims);
}

// Of the weights, from samples first to first + count of the batch.
std::vector<Tensor> gradients(const Case& c, int64_t first, int64_t count, Device& device) {
  Vars samples, weights;
  uint64_t seed = 0;
  for (const Shape& s : c.samples) samples.emplace_back(random(batch_of(s), ++seed, device).slice(first, count));
  for (const Shape& s : c.weights)
    weights.push_back(Var::parameter(test::random_uniform(s, DType::f32, device, 0.5, 1.5, ++seed)));
  const Var y = c.f(samples, weights);
  std::vector<int64_t> dims(y.shape().dims().begin(), y.shape().dims().end());
  dims[0] = kSamples;
  backward(sum(mul(y, random(Shape(dims), 99, device).slice(first, count))));
  std::vector<Tensor> grads;
  for (const Var& w : weights) grads.push_back(w.grad());
  return grads;
}

std::vector<Case> cases(Device& device) {
  BatchNormState frozen;
  frozen.running_mean = random({16}, 50, device);
  frozen.running_var = test::random_uniform({16}, DType::f32, device, 0.5, 2, 51);
  const kernels::ConvGeometry same = kernels::ConvGeometry::square({.padding = 1});
  const kernels::DeformGeometry deform{
      .kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  return {
      {"conv2d",
       {{9, 7, 32}},
       {{32, 3, 3, 32}, {32}},
       [=](const Vars& x, const Vars& w) { return conv2d(x[0], w[0], w[1], same); }},
      {"conv_batch_norm",
       {{9, 7, 16}},
       {{16, 3, 3, 16}, {16}, {16}},
       [=](const Vars& x, const Vars& w) { return conv_batch_norm(x[0], w[0], same, w[1], w[2], frozen, {}, true); }},
      {"batch_norm",
       {{9, 7, 16}},
       {{16}, {16}},
       [=](const Vars& x, const Vars& w) { return batch_norm(x[0], w[0], w[1], frozen, {}, false); }},
      {"conv_transpose2d",
       {{5, 6, 4}},
       {{4, 4, 4, 3}, {3}},
       [](const Vars& x, const Vars& w) {
         return conv_transpose2d(x[0], w[0], w[1],
                                 {.geometry = kernels::ConvGeometry::square({.stride = 2, .padding = 1})});
       }},
      {"linear", {{9, 7, 16}}, {{24, 16}, {24}}, [](const Vars& x, const Vars& w) { return linear(x[0], w[0], w[1]); }},
      {"linear of rows",
       {{16}},
       {{24, 16}, {24}},
       [](const Vars& x, const Vars& w) { return linear(x[0], w[0], w[1]); }},
      {"mlp",
       {{9, 16}},
       {{24, 16}, {24}, {16, 24}, {16}},
       [](const Vars& x, const Vars& w) { return mlp(x[0], {.w1 = w[0], .b1 = w[1], .w2 = w[2], .b2 = w[3]}); }},
      {"layer_norm",
       {{9, 16}},
       {{16}, {16}},
       [](const Vars& x, const Vars& w) { return layer_norm(x[0], w[0], w[1], 1e-5); }},
      {"add_layer_norm",
       {{9, 16}, {9, 16}},
       {{16}, {16}},
       [](const Vars& x, const Vars& w) { return add_layer_norm(x[0], x[1], w[0], w[1], 1e-5).norm; }},
      {"gate",
       {{5, 4, 16}},
       {{3, 1, 1, 16}, {3}},
       [](const Vars& x, const Vars& w) { return gate(scale(x[0], 4, 1), w[0], w[1]); }},
      {"deform_conv2d",
       {{6, 5, 8}, {6, 5, 18}, {6, 5, 9}},
       {{8, 3, 3, 8}, {8}},
       [=](const Vars& x, const Vars& w) {
         // A few rows at a time, not a whole number of samples.
         return deform_conv2d(x[0], x[1], x[2], w[0], w[1], {.geometry = deform, .column_bytes = 4 * 5 * 9 * 8 * 4});
       }},
      {"deform_attention",
       {{6, 5, 192}, {6, 5, 18}},
       {{14, 64}, {16, 64}},
       [](const Vars& x, const Vars& w) {  // the second table is resampled: a weight made of one
         return deform_attention(x[0], x[1], w[0], resample_position_table(w[1], 5), 1);
       }},
      {"add and mul, broadcast",
       {{4, 3, 16}},
       {{16}, {1, 4, 3, 16}, {1, 1, 1, 16}, {16}},
       [](const Vars& x, const Vars& w) { return div(mul(sub(add(x[0], w[1]), w[0]), w[2]), w[3]); }},
  };
}
}  // namespace

TEST_CASE("sums by sample: gradients of weights do not depend on how samples are spread") {
  const auto cpu = Device::create("cpu");
  for (const Case& c : cases(*cpu)) {
    const std::string name = c.name;
    CAPTURE(name);
    cpu->set_sums_by_sample(false);
    const std::vector<Tensor> usual = gradients(c, 0, kSamples, *cpu);
    cpu->set_sums_by_sample(true);
    const std::vector<Tensor> all = gradients(c, 0, kSamples, *cpu);
    for (const int64_t first : {1, 3}) {
      const std::vector<Tensor> a = gradients(c, 0, first, *cpu), b = gradients(c, first, kSamples - first, *cpu);
      for (size_t k = 0; k < all.size(); ++k) {
        CAPTURE(k);
        REQUIRE(all[k].dtype() == DType::f64);
        std::vector<double> sum = test::to_doubles(a[k]);
        const std::vector<double> more = test::to_doubles(b[k]), whole = test::to_doubles(all[k]);
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += more[i];
        CHECK(test::relative_l2(test::from_doubles(all[k].shape(), sum, DType::f32, *cpu),
                                test::from_doubles(all[k].shape(), whole, DType::f32, *cpu)) == 0);
        CHECK(test::relative_l2(usual[k], whole) < 1e-6);
      }
    }
  }
}

TEST_CASE("sums by sample: of weights alone, and where the device says so") {
  const auto cpu = Device::create("cpu");
  const Var weight = Var::parameter(random({4, 3}, 1, *cpu)), x(random({2, 3}, 2, *cpu));
  CHECK_FALSE(sums_by_sample(weight));
  cpu->set_sums_by_sample(true);
  CHECK(sums_by_sample(weight));
  CHECK(sums_by_sample(reshape(scale(weight, 2, 1), {12})));
  CHECK_FALSE(sums_by_sample(relu(weight)));  // whose backward pass wants a gradient in f32
  CHECK_FALSE(sums_by_sample(x));
  CHECK_FALSE(sums_by_sample(linear(x, weight, {})));
  CHECK_FALSE(sums_by_sample(Var()));
  CHECK_FALSE(sums_by_sample(Var::parameter(test::random_normal({3}, DType::f64, *cpu))));
}

TEST_CASE("sums by sample: a gradient that comes in f32 too, and its rounding") {
  const auto cpu = Device::create("cpu");
  cpu->set_sums_by_sample(true);
  const Tensor x = random({2, 3}, 2, *cpu);
  for (const bool f64_first : {false, true}) {
    Var weight = Var::parameter(random({1, 3}, 1, *cpu));
    const Var by_samples = sum(linear(x, weight, {})), alone = sum(scale(weight, 3, 0));
    backward(f64_first ? add(alone, by_samples) : add(by_samples, alone));
    REQUIRE(weight.grad().dtype() == DType::f64);
    const std::vector<double> values = test::to_doubles(x), gradient = test::to_doubles(weight.grad());
    for (size_t i = 0; i < 3; ++i) CHECK(gradient[i] == values[i] + values[i + 3] + 3);
    weight.round_grad();
    CHECK(weight.grad().dtype() == DType::f32);
    CHECK(test::relative_l2(weight.grad(), gradient) < 1e-7);
  }
}
