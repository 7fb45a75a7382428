// Deformable convolutions: gradients against central differences, values against the definition in float64 and against
// ordinary convolutions.
#include "autograd/deform.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "autograd/conv.h"
#include "autograd/elementwise.h"
#include "autograd/gradcheck.h"
#include "core/op_scope.h"
#include "tests/kernels/reference_deform.h"
#include "tests/support/tensors.h"

namespace segrt {
namespace {
using namespace test;
using autograd::DeformConvOptions;
using kernels::DeformGeometry;

struct Case {
  const char* name;
  Shape x;
  int out;
  DeformConvOptions o;
  double spread = 1;  // of the offsets, in pixels
};
const DeformGeometry kSame{.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
const Case kCases[] = {
    {"one of each", {1, 1, 1, 1}, 1, {{.kernel_h = 1, .kernel_w = 1}}, 0.5},
    {"3x3", {2, 4, 3, 4}, 3, {kSame}},
    {"far offsets", {1, 4, 3, 3}, 2, {kSame}, 6},
    {"stride and dilation",
     {1, 6, 7, 2},
     3,
     {{.stride_h = 2, .stride_w = 3, .pad_top = 2, .pad_left = 1, .dilation_h = 2}}},
    {"2x3 kernel, groups", {1, 3, 4, 4}, 6, {{.kernel_h = 2, .kernel_w = 3, .pad_right = 1}, 2}},
    {"deformable groups", {1, 3, 3, 6}, 2, {{.kernel_h = 1, .kernel_w = 2, .groups = 3}}},
    {"groups of both kinds, not the same",
     {2, 3, 3, 12},
     8,
     {{.kernel_h = 2, .kernel_w = 2, .pad_top = 1, .groups = 3}, 4}},
    {"a group a channel", {1, 3, 3, 4}, 4, {{.kernel_h = 3, .kernel_w = 1, .pad_bottom = 1, .groups = 2}, 4}},
};

struct Problem {
  Problem(const Case& c, DType dtype, Device& device, bool quantised) {
    const DeformGeometry& g = c.o.geometry;
    out = kernels::deform_output_shape("test", c.x, g);
    const int64_t samples = int64_t{g.groups} * g.kernel_h * g.kernel_w;
    const Shape of_offset{out[0], out[1], out[2], 2 * samples};
    x = random_normal(c.x, dtype, device, {.seed = 1});
    std::vector<double> d = to_doubles(random_normal(of_offset, DType::f64, *cpu, {.seed = 2, .std = c.spread}));
    // Quantised: exact in every dtype. Else away from whole pixels, where derivatives jump.
    for (double& v : d) {
      v = std::round(std::clamp(v, -20.0, 20.0) * 8) / 8;
      if (!quantised) v += 0.03125;
    }
    offset = from_doubles(of_offset, d, dtype, device);
    mask = random_uniform({out[0], out[1], out[2], samples}, dtype, device, -1, 2, 3);
    w = random_normal({c.out, g.kernel_h, g.kernel_w, c.x[3] / c.o.groups}, dtype, device, {.seed = 4});
    const DType wide = dtype == DType::f64 ? DType::f64 : DType::f32;
    bias = random_normal({c.out}, wide, device, {.seed = 5});
    y = Shape{out[0], out[1], out[2], c.out};
  }
  std::unique_ptr<Device> cpu = Device::create("cpu");
  Tensor x, offset, mask, w, bias;
  Shape y, out;
};

// y of deform_conv2d by its definition.
std::vector<double> reference_conv(const Problem& p, const Case& c) {
  const std::vector<double> columns =
      test::reference::unfold({c.x, p.out, c.o.geometry, to_doubles(p.x), to_doubles(p.offset), to_doubles(p.mask)}, {})
          .columns;
  const std::vector<double> w = to_doubles(p.w), bias = to_doubles(p.bias);
  const int64_t taps = p.w.dim(1) * p.w.dim(2), inner = p.w.dim(3), channels = c.x[3], group_out = c.out / c.o.groups;
  std::vector<double> y(static_cast<size_t>(p.y.numel()));
  for (int64_t i = 0; i < p.y.numel(); ++i) {
    const int64_t position = i / c.out, o = i % c.out;
    double sum = bias[static_cast<size_t>(o)];
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t k = 0; k < inner; ++k)
        sum += w[static_cast<size_t>((o * taps + t) * inner + k)] *
               columns[static_cast<size_t>((position * taps + t) * channels + o / group_out * inner + k)];
    y[static_cast<size_t>(i)] = sum;
  }
  return y;
}
}  // namespace

TEST_CASE("gradients of deformable unfolding and convolution") {
  const auto cpu = Device::create("cpu");
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    const Problem p(c, DType::f64, *cpu, false);
    const auto check = [](const std::function<Var(const std::vector<Var>&)>& f, const std::vector<Tensor>& inputs) {
      const GradcheckResult result = gradcheck(f, inputs);
      CAPTURE(result.where);
      CHECK(result.worst < 1e-7);
    };
    const DeformGeometry& g = c.o.geometry;
    check([&](const std::vector<Var>& v) { return autograd::deform_unfold(v[0], v[1], {}, g); }, {p.x, p.offset});
    check([&](const std::vector<Var>& v) { return autograd::deform_unfold(v[0], v[1], v[2], g); },
          {p.x, p.offset, p.mask});
    DeformConvOptions o = c.o;
    for (const int64_t bytes : {o.column_bytes, int64_t{1}}) {  // at once; row by row
      o.column_bytes = bytes;
      check([&](const std::vector<Var>& v) { return autograd::deform_conv2d(v[0], v[1], {}, v[2], {}, o); },
            {p.x, p.offset, p.w});
      check([&](const std::vector<Var>& v) { return autograd::deform_conv2d(v[0], v[1], v[2], v[3], v[4], o); },
            {p.x, p.offset, p.mask, p.w, p.bias});
    }
    check([&](const std::vector<Var>& v) { return autograd::deform_conv2d(p.x, v[0], p.mask, p.w, p.bias, c.o); },
          {p.offset});
    check([&](const std::vector<Var>& v) { return autograd::deform_conv2d(p.x, p.offset, p.mask, v[0], p.bias, c.o); },
          {p.w});
  }
}

TEST_CASE("deform_conv2d agrees with its definition, at once and in parts") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Case& c : kCases) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(c.name);
        const Problem p(c, dtype, *device, true);
        const std::vector<double> expected = reference_conv(p, c);
        DeformConvOptions o = c.o;
        for (const int64_t bytes : {o.column_bytes, int64_t{1}}) {
          o.column_bytes = bytes;
          const Var y = autograd::deform_conv2d(p.x, p.offset, p.mask, p.w, p.bias, o);
          CHECK(y.shape() == p.y);
          // Columns are rounded before they are multiplied, and the result is.
          CHECK(relative_l2(y.value(), expected) <= 2 * tolerance(dtype, p.w.numel() / c.out));
        }
      }
}

TEST_CASE("gradients of deform_conv2d are those of float64, in every type, at once and in parts") {
  const auto cpu = Device::create("cpu");
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Case& c : kCases) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(c.name);
        const Problem p(c, dtype, *device, true);
        const Tensor dy = random_normal(p.y, dtype, *device, {.seed = 6});
        const std::vector<Tensor> inputs{p.x, p.offset, p.mask, p.w, p.bias};
        const auto gradients = [&](const std::vector<Tensor>& values, const Tensor& seed, int64_t bytes) {
          std::vector<Var> v;
          for (const Tensor& t : values) v.push_back(Var::parameter(t));
          DeformConvOptions o = c.o;
          o.column_bytes = bytes;
          backward(autograd::sum(autograd::mul(autograd::deform_conv2d(v[0], v[1], v[2], v[3], v[4], o), seed)));
          std::vector<std::vector<double>> result;
          for (const Var& leaf : v) {
            CHECK(leaf.grad().dtype() == leaf.dtype());
            result.push_back(to_doubles(leaf.grad()));
          }
          return result;
        };
        std::vector<Tensor> exact;
        for (const Tensor& t : inputs) exact.push_back(from_doubles(t.shape(), to_doubles(t), DType::f64, *cpu));
        const auto expected = gradients(exact, from_doubles(p.y, to_doubles(dy), DType::f64, *cpu), int64_t{1} << 30);
        for (const int64_t bytes : {int64_t{1} << 30, int64_t{1}}) {
          const auto got = gradients(inputs, dy, bytes);
          for (size_t k = 0; k < got.size(); ++k) {
            CAPTURE(k);
            CHECK(relative_l2(got[k], expected[k]) <= 3 * tolerance(dtype, 9 * p.y.numel()));
          }
        }
      }
}

TEST_CASE("without offsets, and with masks of 1, a deformable convolution is an ordinary one") {
  for (const auto& device : test_devices())
    for (const bool masked : {false, true}) {
      const Tensor x = random_normal({2, 6, 5, 8}, DType::f32, *device);
      const Tensor w = random_normal({4, 3, 3, 4}, DType::f32, *device, {.seed = 2});
      const DeformConvOptions o{{.stride_h = 2,
                                 .pad_top = 2,
                                 .pad_left = 2,
                                 .pad_bottom = 2,
                                 .pad_right = 2,
                                 .dilation_h = 2,
                                 .dilation_w = 2},
                                2};
      const kernels::ConvGeometry g{2, 1, 2, 2, 2, 2, 2, 2, 2};
      const Var expected = autograd::conv2d(x, w, {}, g);
      const Shape s = expected.shape();
      const Tensor offset = Tensor::zeros({s[0], s[1], s[2], 18}, DType::f32, *device);
      Tensor mask = Tensor::empty({s[0], s[1], s[2], 9}, DType::f32, *device);
      kernels::fill(mask, 1);
      const Var y = autograd::deform_conv2d(x, offset, masked ? Var(mask) : Var(), w, {}, o);
      CHECK(y.shape() == s);
      CHECK(relative_l2(y.value(), expected.value()) <= tolerance(DType::f32, 36));
    }
}

TEST_CASE("deform_conv2d never holds more columns than it may") {
  // The largest output of its unfoldings.
  struct Widest final : ScopeListener {
    void enter(const Scope& scope) override {
      if (scope.name() == "deform_unfold" && scope.kind() == Scope::Kind::op) {
        bytes = std::max(bytes, static_cast<int64_t>(scope.output()->nbytes()));
        ++count;
      }
    }
    void leave(const Scope&) noexcept override {}
    bool needs_every_op() const override { return true; }
    int64_t bytes = 0;
    int count = 0;
  } widest;
  const auto cpu = Device::create("cpu");
  const Tensor x = random_normal({2, 8, 16, 4}, DType::f32, *cpu);
  const Tensor offset = random_normal({2, 8, 16, 18}, DType::f32, *cpu, {.seed = 2});
  const Var w = Var::parameter(random_normal({3, 3, 3, 4}, DType::f32, *cpu, {.seed = 3}));
  const int64_t row = 16 * 9 * 4 * 4;
  cpu->state<ScopeStack>().add(widest);
  backward(autograd::sum(autograd::deform_conv2d(x, offset, {}, w, {}, {kSame, 1, 3 * row + 1})));
  cpu->state<ScopeStack>().remove(widest);
  CHECK(widest.bytes == 3 * row);
  CHECK(widest.count == 12);  // 16 rows in six parts, made for the forward pass and again for the backward
}

TEST_CASE("deform_conv2d of no images") {
  for (const auto& device : test_devices()) {
    const Var x = Var::parameter(Tensor::empty({0, 4, 5, 2}, DType::f32, *device));
    const Tensor offset = Tensor::empty({0, 4, 5, 18}, DType::f32, *device);
    const Var w = Var::parameter(random_normal({3, 3, 3, 2}, DType::f32, *device));
    const Var bias = Var::parameter(random_normal({3}, DType::f32, *device));
    const Var y = autograd::deform_conv2d(x, offset, {}, w, bias, {kSame});
    CHECK(y.shape() == Shape{0, 4, 5, 3});
    backward(autograd::sum(y));
    CHECK(to_doubles(w.grad()) == std::vector<double>(54));
    CHECK(to_doubles(bias.grad()) == std::vector<double>(3));
    CHECK(x.grad().shape() == x.shape());
  }
}

TEST_CASE("deform_conv2d refuses weights and offsets that do not fit") {
  const auto cpu = Device::create("cpu");
  const Tensor x = Tensor::zeros({1, 4, 5, 6}, DType::f32, *cpu), w = Tensor::zeros({4, 3, 3, 6}, DType::f32, *cpu);
  const Tensor offset = Tensor::zeros({1, 4, 5, 18}, DType::f32, *cpu);
  const auto message = [&](const Tensor& offsets, const DeformConvOptions& o) {
    return error_of([&] { autograd::deform_conv2d(x, offsets, {}, w, {}, o); });
  };
  CHECK(message(offset, {kSame, 2}) == "deform_conv2d: w: expected [O,3,3,3], got [4,3,3,6]");
  CHECK(message(offset, {kSame, 4}) == "deform_conv2d: groups: expected a divisor of x's 6 channels, got 4");
  CHECK(message(offset, {{}, 1}) == "deform_conv2d: offset: expected [1,2,3,18], got [1,4,5,18]");
}

TEST_CASE("slice_channels") {
  const auto cpu = Device::create("cpu");
  const Tensor x = random_normal({2, 3, 5}, DType::f64, *cpu);
  const Var y = autograd::slice_channels(x, 1, 3);
  CHECK(y.shape() == Shape{2, 3, 3});
  for (size_t i = 0; i < 18; ++i) CHECK(to_doubles(y.value())[i] == to_doubles(x)[i / 3 * 5 + 1 + i % 3]);
  CHECK(gradcheck([](const std::vector<Var>& v) { return autograd::slice_channels(v[0], 2, 3); }, {x}).worst < 1e-7);
  CHECK(error_of([&] { autograd::slice_channels(x, 3, 3); }) ==
        "slice_channels: expected channels within [2,3,5], got [3, 6)");
}

}  // namespace segrt
