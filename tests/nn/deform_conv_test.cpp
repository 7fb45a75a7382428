#include "nn/deform_conv.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "autograd/conv.h"
#include "autograd/elementwise.h"
#include "tests/support/tensors.h"

namespace segrt {
namespace {
using namespace test;
using nn::DeformConvOptions;

using Shapes = std::vector<std::pair<std::string, Shape>>;

Shapes shapes(nn::Module& module) {
  Shapes result;
  module.visit_parameters([&](const std::string& path, nn::Parameter& p) { result.push_back({path, p.var.shape()}); });
  return result;
}

Tensor& value(nn::Module& module, const std::string& wanted) {
  Tensor* found = nullptr;
  module.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    if (path == wanted) found = const_cast<Tensor*>(&p.var.value());
  });
  REQUIRE(found != nullptr);
  return *found;
}

// Uniform in +-bound: nothing beyond, the extremes near it, and a variance of bound^2 / 3.
void check_uniform(const Tensor& t, double bound) {
  const std::vector<double> v = to_doubles(t);
  double largest = 0, squares = 0;
  for (const double x : v) {
    largest = std::max(largest, std::abs(x));
    squares += x * x;
  }
  CHECK(largest <= bound);
  CHECK(largest > 0.9 * bound);
  CHECK(std::sqrt(3 * squares / static_cast<double>(v.size())) == doctest::Approx(bound).epsilon(0.1));
}

bool is_zero(const Tensor& t) {
  const std::vector<double> v = to_doubles(t);
  return std::all_of(v.begin(), v.end(), [](double x) { return x == 0; });
}
}  // namespace

TEST_CASE("deformable layers have upstream's names and initial values") {
  const auto cpu = Device::create("cpu");
  nn::Init init(*cpu, 1);
  const DeformConvOptions o{.in = 8, .out = 12, .padding = 1, .deform_groups = 2};
  nn::ModulatedDeformConvPack pack(o, init);
  CHECK(shapes(pack) == Shapes{{"weight", {12, 3, 3, 8}},
                               {"bias", {12}},
                               {"conv_offset_mask.weight", {54, 3, 3, 8}},
                               {"conv_offset_mask.bias", {54}}});
  check_uniform(value(pack, "weight"), 1 / std::sqrt(72.0));
  for (const char* name : {"bias", "conv_offset_mask.weight", "conv_offset_mask.bias"})
    CHECK(is_zero(value(pack, name)));

  DeformConvOptions grouped = o;
  grouped.groups = 4;
  nn::DeformConvWithOffset v1(grouped, init);
  CHECK(shapes(v1) ==
        Shapes{{"offset_conv.weight", {36, 3, 3, 8}}, {"offset_conv.bias", {36}}, {"dcn.weight", {12, 3, 3, 2}}});
  check_uniform(value(v1, "offset_conv.weight"), 1 / std::sqrt(72.0));
  check_uniform(value(v1, "dcn.weight"), std::sqrt(6.0 / 18));

  nn::ModulatedDeformConvWithOffset v2(o, init);
  CHECK(shapes(v2) == Shapes{{"offset_mask_conv.weight", {54, 3, 3, 8}},
                             {"offset_mask_conv.bias", {54}},
                             {"dcnv2.weight", {12, 3, 3, 8}},
                             {"dcnv2.bias", {12}}});
  check_uniform(value(v2, "offset_mask_conv.weight"), 1 / std::sqrt(72.0));
  CHECK(!is_zero(value(v2, "offset_mask_conv.bias")));
  check_uniform(value(v2, "dcnv2.weight"), std::sqrt(6.0 / 72));
  CHECK(is_zero(value(v2, "dcnv2.bias")));
}

TEST_CASE("a fresh modulated pack is half a convolution") {
  for (const auto& device : test_devices()) {
    nn::Init init(*device, 1);
    nn::ModulatedDeformConvPack pack({.in = 4, .out = 6, .stride = 2, .padding = 1}, init);
    const Tensor x = random_normal({2, 7, 6, 4}, DType::f32, *device);
    Tensor half = Tensor::like(value(pack, "weight"));
    kernels::scale(value(pack, "weight"), 0.5, 0, half);
    const Var expected = autograd::conv2d(x, half, {}, kernels::ConvGeometry::square({.stride = 2, .padding = 1}));
    CHECK(relative_l2(pack.forward(x).value(), expected.value()) <= tolerance(DType::f32, 36));
  }
}

TEST_CASE("predicted channels are pairs of offsets, then masks") {
  const auto cpu = Device::create("cpu");
  nn::Init init(*cpu, 1);
  const DeformConvOptions o{.in = 3, .out = 2, .kernel = 1};
  nn::ModulatedDeformConvWithOffset v2(o, init);
  nn::DeformConvWithOffset v1(o, init);
  value(v2, "offset_mask_conv.weight").fill_zero();
  value(v1, "offset_conv.weight").fill_zero();
  // One row down, two columns to the right, and a mask of 3/4.
  value(v2, "offset_mask_conv.bias").copy_from(Tensor::from<float>({3}, {1.0f, 2.0f, std::log(3.0f)}, *cpu));
  value(v1, "offset_conv.bias").copy_from(Tensor::from<float>({2}, {1.0f, 2.0f}, *cpu));
  const Tensor x = random_normal({1, 4, 5, 3}, DType::f32, *cpu);
  const auto moved_product = [&](const Tensor& w, double mask) {
    const std::vector<double> xs = to_doubles(x), ws = to_doubles(w);
    std::vector<double> y;
    for (size_t h = 0; h < 4; ++h)
      for (size_t c = 0; c < 5; ++c)
        for (size_t k = 0; k < 2; ++k) {
          double sum = 0;
          if (h + 1 < 4 && c + 2 < 5)
            for (size_t i = 0; i < 3; ++i) sum += mask * ws[k * 3 + i] * xs[((h + 1) * 5 + c + 2) * 3 + i];
          y.push_back(sum);
        }
    return y;
  };
  CHECK(relative_l2(v1.forward(x).value(), moved_product(value(v1, "dcn.weight"), 1)) < 1e-6);
  CHECK(relative_l2(v2.forward(x).value(), moved_product(value(v2, "dcnv2.weight"), 0.75)) < 1e-6);
}

TEST_CASE("deformable layers train in mixed precision, and every parameter gets its gradient") {
  for (const auto& device : test_devices())
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(device->name());
      CAPTURE(dtype);
      nn::Init init(*device, 1);
      nn::ModulatedDeformConvPack pack({.in = 4, .out = 6, .padding = 2, .dilation = 1, .deform_groups = 2}, init);
      nn::ModulatedDeformConvWithOffset v2({.in = 4, .out = 6, .padding = 1, .groups = 2}, init);
      nn::DeformConvWithOffset v1({.in = 4, .out = 6, .stride = 2, .padding = 1}, init);
      const Tensor x = random_normal({2, 5, 6, 4}, dtype, *device);
      for (const auto& y : {pack.forward(x), v2.forward(x), v1.forward(x)}) {
        CHECK(y.dtype() == dtype);
        backward(autograd::sum(autograd::mul(y, random_normal(y.shape(), dtype, *device, {.seed = 9}))));
      }
      for (nn::Module* module :
           {static_cast<nn::Module*>(&pack), static_cast<nn::Module*>(&v2), static_cast<nn::Module*>(&v1)})
        module->visit_parameters([&](const std::string& path, nn::Parameter& p) {
          CAPTURE(path);
          REQUIRE(p.var.grad().defined());
          CHECK(!is_zero(p.var.grad()));
        });
    }
}

TEST_CASE("deformable layers of no images, and options that do not fit") {
  const auto cpu = Device::create("cpu");
  nn::Init init(*cpu, 1);
  nn::ModulatedDeformConvWithOffset v2({.in = 4, .out = 6, .stride = 2, .padding = 1}, init);
  CHECK(v2.forward(Tensor::empty({0, 5, 6, 4}, DType::f32, *cpu)).shape() == Shape{0, 3, 3, 6});
  CHECK(error_of([&] { nn::ModulatedDeformConvPack({.in = 4, .out = 6, .groups = 2}, init); }) ==
        "ModulatedDeformConvPack: groups: expected 1, got 2");
  CHECK(error_of([&] { nn::DeformConv2d({.in = 4, .out = 6, .deform_groups = 3}, init); }) ==
        "DeformConv2d: 4 -> 6 channels do not divide into 1 groups and 3 deformable groups");
  // Without dilation of its own, the predictor's map is larger than that of a dilated main convolution.
  nn::DeformConvWithOffset dilated({.in = 4, .out = 6, .padding = 1, .dilation = 2}, init);
  CHECK(error_of([&] {
          dilated.forward(random_normal({1, 7, 7, 4}, DType::f32, *cpu));
        }) == "deform_conv2d: offset: expected [1,5,5,18], got [1,7,7,18]");
}

}  // namespace segrt
