#include "kernels/conv.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "tests/kernels/conv_cases.h"
#include "tests/kernels/reference_conv.h"
#include "tests/support/tensors.h"

namespace segrt::test {
namespace {
using kernels::ConvEpilogue;
using kernels::ConvGeometry;

DType accumulator(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

// Activations, weights and output gradients of a case, with their values as the kernels see them (rounded to dtype).
struct Inputs {
  Inputs(const ConvCase& c, DType dtype, Device& device)
      : s{c.x, c.w, kernels::conv2d_output_shape(c.x, c.w, c.g), c.g},
        x(random_normal(s.x, dtype, device, {.seed = 11})),
        w(random_normal(s.w, dtype, device, {.seed = 12})),
        dy(random_normal(s.y, dtype, device, {.seed = 13})) {}

  reference::Operands s;
  Tensor x, w, dy;
};

int64_t forward_terms(const reference::Operands& s) { return s.w[1] * s.w[2] * s.w[3]; }

void check_forward(const ConvCase& c, DType dtype, Device& device) {
  const Inputs in(c, dtype, device);
  Tensor y = filled_with_nan(in.s.y, dtype, device);
  kernels::conv2d_forward(in.x, in.w, {}, c.g, y);
  CHECK(relative_l2(y, reference::conv_forward(in.s, to_doubles(in.x), to_doubles(in.w))) <=
        tolerance(dtype, forward_terms(in.s)));
}

void check_backward(const ConvCase& c, DType dtype, Device& device) {
  const Inputs in(c, dtype, device);
  Tensor dx = filled_with_nan(in.s.x, dtype, device);
  kernels::conv2d_backward_input(in.dy, in.w, c.g, dx);
  CHECK(relative_l2(dx, reference::conv_backward_input(in.s, to_doubles(in.dy), to_doubles(in.w))) <=
        tolerance(dtype, in.s.w[0] / c.g.groups * in.s.w[1] * in.s.w[2]));

  const auto expected = reference::conv_backward_weight(in.s, to_doubles(in.x), to_doubles(in.dy));
  for (const DType weight_dtype : {dtype, accumulator(dtype)}) {
    CAPTURE(weight_dtype);
    Tensor dw = filled_with_nan(in.s.w, weight_dtype, device);
    kernels::conv2d_backward_weight(in.x, in.dy, c.g, dw);
    CHECK(relative_l2(dw, expected) <= tolerance(weight_dtype, in.s.y[0] * in.s.y[1] * in.s.y[2]));
  }
}
}  // namespace

TEST_CASE("conv2d_forward agrees with float64 on every device") {
  for (auto& device : test_devices())
    for (const ConvCase& c : conv_cases())
      for (const DType dtype : dtypes_of(*device)) {
        CAPTURE(device->name());
        CAPTURE(c.name);
        CAPTURE(dtype);
        check_forward(c, dtype, *device);
      }
}

TEST_CASE("conv2d_backward_input and conv2d_backward_weight agree with float64 on every device") {
  for (auto& device : test_devices())
    for (const ConvCase& c : conv_cases())
      for (const DType dtype : dtypes_of(*device)) {
        CAPTURE(device->name());
        CAPTURE(c.name);
        CAPTURE(dtype);
        check_backward(c, dtype, *device);
      }
}

TEST_CASE("conv2d_forward writes nothing past the end of its output") {
  // Shapes at which a vendor's kernel did, with a separate residual and ReLU.
  constexpr int64_t kGuard = 2048;
  for (auto& device : test_devices())
    for (const Shape& x : {Shape{1, 3, 13, 32}, Shape{2, 3, 14, 32}, Shape{1, 8, 31, 64}, Shape{1, 1, 7, 32}})
      for (const int kernel : {1, 3})
        for (const DType dtype : dtypes_of(*device)) {
          CAPTURE(device->name());
          CAPTURE(x);
          CAPTURE(kernel);
          CAPTURE(dtype);
          const ConvCase c{"", x, {64, kernel, kernel, x[3]}, ConvGeometry::square({.padding = kernel / 2})};
          const Inputs in(c, dtype, *device);
          const Tensor bias = random_normal({64}, accumulator(dtype), *device, {.seed = 14});
          const Tensor residual = random_normal(in.s.y, dtype, *device, {.seed = 15});
          const int64_t size = in.s.y.numel();
          const Tensor memory = filled_with_nan({size + 2 * kGuard}, dtype, *device);
          Tensor y = memory.slice(kGuard, size).reshape(in.s.y);
          kernels::conv2d_forward(in.x, in.w, {&bias, &residual, true}, c.g, y);
          const std::vector<double> values = to_doubles(memory);
          const auto written = std::count_if(values.begin(), values.end(), [](double v) { return !std::isnan(v); });
          CHECK(written == size);
        }
}

TEST_CASE("conv2d_forward adds bias and residual and activates, in every combination") {
  const ConvCase cases[] = {
      {"3x3", {2, 5, 6, 9}, {18, 3, 3, 9}, ConvGeometry::square({.padding = 1})},
      {"1x1", {1, 3, 5, 16}, {32, 1, 1, 16}, {}},
      {"depthwise", {1, 5, 6, 19}, {19, 3, 3, 1}, ConvGeometry::square({.padding = 1, .groups = 19})},
      {"windows mostly in the padding",
       {1, 2, 3, 512},
       {64, 3, 3, 512},
       ConvGeometry::square({.padding = 4, .dilation = 4})},
      {"strided, many channels", {1, 5, 4, 512}, {64, 3, 3, 512}, ConvGeometry::square({2, 1, 1, 1})},
      {"no input channels", {1, 3, 4, 0}, {5, 3, 3, 0}, ConvGeometry::square({.padding = 1})},
  };
  enum class Residual { none, separate, in_place };
  enum class Activation { none, relu, silu };
  const auto check = [](const ConvCase& c, DType dtype, Device& device, bool with_bias, Residual from,
                        Activation activation) {
    const Inputs in(c, dtype, device);
    const Tensor bias = random_normal({in.s.y[3]}, accumulator(dtype), device, {.seed = 14});
    const Tensor residual = random_normal(in.s.y, dtype, device, {.seed = 15});
    Tensor y = from == Residual::in_place ? residual.clone() : filled_with_nan(in.s.y, dtype, device);
    const Tensor* added = from == Residual::none ? nullptr : from == Residual::in_place ? &y : &residual;

    auto expected = reference::conv_forward(in.s, to_doubles(in.x), to_doubles(in.w));
    const auto bias_values = to_doubles(bias), residual_values = to_doubles(residual);
    for (size_t i = 0; i < expected.size(); ++i) {
      if (with_bias) expected[i] += bias_values[i % bias_values.size()];
      if (from != Residual::none) expected[i] += residual_values[i];
      if (activation == Activation::relu) expected[i] = std::max(expected[i], 0.0);
      if (activation == Activation::silu) expected[i] /= 1 + std::exp(-expected[i]);
    }
    kernels::conv2d_forward(
        in.x, in.w,
        {with_bias ? &bias : nullptr, added, activation == Activation::relu, activation == Activation::silu}, c.g, y);
    CHECK(relative_l2(y, expected) <= tolerance(dtype, forward_terms(in.s) + 2));
  };
  for (auto& device : test_devices())
    for (const ConvCase& c : cases)
      for (const DType dtype : dtypes_of(*device))
        for (const bool bias : {false, true})
          for (const Residual residual : {Residual::none, Residual::separate, Residual::in_place})
            for (const Activation activation : {Activation::none, Activation::relu, Activation::silu}) {
              CAPTURE(device->name());
              CAPTURE(c.name);
              CAPTURE(dtype);
              CAPTURE(bias);
              CAPTURE(static_cast<int>(residual));
              CAPTURE(static_cast<int>(activation));
              check(c, dtype, *device, bias, residual, activation);
            }
}

TEST_CASE("conv2d_forward_statistics is a convolution and the statistics of what it wrote") {
  for (auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device)) {
      CAPTURE(device->name());
      CAPTURE(dtype);
      const ConvGeometry g = ConvGeometry::square({.stride = 2, .padding = 1});
      const Tensor x = random_normal({2, 9, 7, 5}, dtype, *device, {.seed = 1});
      const Tensor w = random_normal({11, 3, 3, 5}, dtype, *device, {.seed = 2});
      const DType vector = dtype == DType::f64 ? DType::f64 : DType::f32;
      Tensor y = filled_with_nan({2, 5, 4, 11}, dtype, *device), expected = Tensor::like(y);
      Tensor mean = filled_with_nan({11}, vector, *device), var = filled_with_nan({11}, vector, *device);
      kernels::conv2d_forward_statistics(x, w, g, y, mean, var);
      kernels::conv2d_forward(x, w, {}, g, expected);
      CHECK(to_doubles(y) == to_doubles(expected));
      const std::vector<double> values = to_doubles(y);
      std::vector<double> means(11), vars(11);
      for (size_t i = 0; i < values.size(); ++i) means[i % 11] += values[i] / 40;
      for (size_t i = 0; i < values.size(); ++i)
        vars[i % 11] += (values[i] - means[i % 11]) * (values[i] - means[i % 11]) / 40;
      CHECK(max_abs_difference(to_doubles(mean), means) <= 1e-5);
      CHECK(relative_l2(var, vars) <= 1e-6);
      Tensor narrow = Tensor::zeros({10}, vector, *device);
      CHECK(error_of([&] { kernels::conv2d_forward_statistics(x, w, g, y, narrow, var); }) ==
            "conv2d_forward_statistics: mean: expected [11], got [10]");
    }
}

TEST_CASE("A transposed convolution inserts rows between its inputs") {
  // Each input pixel adds its multiple of the kernel at stride times its position: the definition, without reference
  // to any convolution.
  const ConvGeometry g = ConvGeometry::square({.stride = 2, .padding = 1});
  for (auto& device : test_devices()) {
    CAPTURE(device->name());
    const Tensor x = random_normal({1, 3, 4, 5}, DType::f32, *device, {.seed = 3});
    const Tensor w = random_normal({5, 3, 3, 6}, DType::f32, *device, {.seed = 4});
    const Shape shape = kernels::conv_transpose2d_output_shape(x.shape(), w.shape(), g, 1, 0);
    CHECK(shape == Shape{1, 6, 7, 6});
    std::vector<double> expected(static_cast<size_t>(shape.numel()));
    const auto xs = to_doubles(x), ws = to_doubles(w);
    for (int h = 0; h < 3; ++h)
      for (int v = 0; v < 4; ++v)
        for (int i = 0; i < 3; ++i)
          for (int j = 0; j < 3; ++j) {
            const int p = 2 * h - 1 + i, q = 2 * v - 1 + j;
            if (p < 0 || p >= 6 || q < 0 || q >= 7) continue;
            for (int c = 0; c < 5; ++c)
              for (int o = 0; o < 6; ++o)
                expected[static_cast<size_t>((p * 7 + q) * 6 + o)] +=
                    xs[static_cast<size_t>((h * 4 + v) * 5 + c)] *
                    ws[static_cast<size_t>(((c * 3 + i) * 3 + j) * 6 + o)];
          }
    Tensor y = filled_with_nan(shape, DType::f32, *device);
    kernels::conv2d_backward_input(x, w, g, y);
    CHECK(relative_l2(y, expected) <= tolerance(DType::f32, 45));
  }
}

TEST_CASE("Convolutions with nothing to sum give zeros, and empty outputs are left alone") {
  for (auto& device : test_devices()) {
    CAPTURE(device->name());
    const ConvGeometry g = ConvGeometry::square({.padding = 1});
    const Tensor none = Tensor::empty({0, 4, 5, 3}, DType::f32, *device);
    const Tensor w = random_normal({6, 3, 3, 3}, DType::f32, *device);
    Tensor y = Tensor::empty({0, 4, 5, 6}, DType::f32, *device);
    kernels::conv2d_forward(none, w, {}, g, y);
    Tensor dx = Tensor::like(none);
    kernels::conv2d_backward_input(y, w, g, dx);
    Tensor dw = filled_with_nan(w.shape(), DType::f32, *device);
    kernels::conv2d_backward_weight(none, y, g, dw);
    CHECK(to_doubles(dw) == std::vector<double>(static_cast<size_t>(dw.numel()), 0.0));

    const Tensor no_outputs_w = Tensor::empty({0, 3, 3, 3}, DType::f32, *device);
    const Tensor no_outputs = Tensor::empty({1, 4, 5, 0}, DType::f32, *device);
    Tensor zeros = filled_with_nan({1, 4, 5, 3}, DType::f32, *device);
    kernels::conv2d_backward_input(no_outputs, no_outputs_w, g, zeros);
    CHECK(to_doubles(zeros) == std::vector<double>(60, 0.0));
  }
}

TEST_CASE("A changed weight is seen: a packed copy of the old one is not used") {
  for (auto& device : test_devices()) {
    CAPTURE(device->name());
    const ConvCase c{"", {1, 6, 7, 16}, {32, 3, 3, 16}, ConvGeometry::square({.padding = 1})};
    Inputs in(c, DType::f32, *device);
    Tensor y = Tensor::empty(in.s.y, DType::f32, *device);
    for (int step = 0; step < 4; ++step) {
      in.w.copy_from(random_normal(in.s.w, DType::f32, *device, {.seed = static_cast<uint64_t>(20 + step)}));
      for (int repeat = 0; repeat < 3; ++repeat) {  // packed, packed and kept, kept
        kernels::conv2d_forward(in.x, in.w, {}, c.g, y);
        CHECK(relative_l2(y, reference::conv_forward(in.s, to_doubles(in.x), to_doubles(in.w))) <=
              tolerance(DType::f32, forward_terms(in.s)));
      }
    }
  }
}

TEST_CASE("conv2d on a meta device checks shapes and computes nothing") {
  auto meta = Device::create("meta");
  const Tensor x = Tensor::empty({1, 512, 1024, 3}, DType::f32, *meta),
               w = Tensor::empty({16, 7, 7, 3}, DType::f32, *meta);
  Tensor y = Tensor::empty({1, 512, 1024, 16}, DType::f32, *meta);
  kernels::conv2d_forward(x, w, {}, ConvGeometry::square({.padding = 3}), y);
  CHECK_THROWS_AS(kernels::conv2d_forward(x, w, {}, {}, y), ArgumentError);
}

TEST_CASE("conv2d refuses what does not fit and says why") {
  auto device = Device::create("cpu");
  const auto tensor = [&](const Shape& shape, DType dtype = DType::f32) {
    return Tensor::zeros(shape, dtype, *device);
  };
  const auto forward = [&](const Tensor& x, const Tensor& w, Tensor y, const ConvGeometry& g = {},
                           ConvEpilogue e = {}) { return error_of([&] { kernels::conv2d_forward(x, w, e, g, y); }); };
  const Tensor x = tensor({1, 4, 5, 8}), w = tensor({6, 3, 3, 8});
  CHECK(forward(tensor({4, 5, 8}), w, tensor({1, 2, 3, 6})) ==
        "conv2d: x: expected 4 dimensions [N,H,W,C], got [4,5,8]");
  CHECK(forward(x, tensor({6, 3, 3, 4}), tensor({1, 2, 3, 6})) ==
        "conv2d: w: expected 8 input channels a group, got 4: w is [6,3,3,4], x is [1,4,5,8], groups 1");
  CHECK(forward(x, tensor({6, 3, 3, 2}), tensor({1, 2, 3, 6}), {.groups = 4}) ==
        "conv2d: groups: expected a divisor of w's 6 output channels, got 4");
  CHECK(forward(x, w, tensor({1, 2, 3, 6}), {.groups = 3}) ==
        "conv2d: groups: expected a divisor of x's 8 channels, got 3");
  CHECK(forward(x, w, tensor({1, 4, 5, 6})) == "conv2d: y: expected [1,2,3,6], got [1,4,5,6]");
  CHECK(forward(x, w, tensor({1, 2, 3, 6}, DType::bf16)) == "conv2d: y: expected f32, got bf16");
  CHECK(forward(x, tensor({6, 3, 3, 8}, DType::f16), tensor({1, 2, 3, 6})) == "conv2d: w: expected f32, got f16");
  CHECK(forward(x, w, tensor({1, 2, 3, 6}), {.stride_w = 0}) == "conv2d: stride_w: expected at least 1, got 0");
  CHECK(forward(x, w, tensor({1, 2, 3, 6}), {.pad_left = -1}) == "conv2d: pad_left: expected at least 0, got -1");
  CHECK(forward(x, w, tensor({1, 2, 3, 6}), {.dilation_h = 3}) ==
        "conv2d: x: expected a padded height of at least 7 (kernel 3, dilation 3), got 4 + 0 + 0");
  CHECK(forward(tensor({1, 4, 5, 8}, DType::i32), w, tensor({1, 2, 3, 6})) ==
        "conv2d: x: expected f32, bf16 or f16 (or f64), got i32");
  const Tensor bias = tensor({5}), residual = tensor({1, 2, 3, 5}), undefined;
  CHECK(forward(x, w, tensor({1, 2, 3, 6}), {}, {.bias = &bias}) == "conv2d: bias: expected [6], got [5]");
  CHECK(forward(x, w, tensor({1, 2, 3, 6}), {}, {.residual = &residual}) ==
        "conv2d: residual: expected [1,2,3,6], got [1,2,3,5]");
  CHECK(forward(x, undefined, tensor({1, 2, 3, 6})) == "conv2d: w: expected a tensor, got an undefined one");

  Tensor dx = tensor({1, 4, 5, 8}), dw = tensor({6, 3, 3, 8});
  CHECK(error_of([&] {
          kernels::conv2d_backward_input(tensor({1, 4, 5, 6}), w, {}, dx);
        }) == "conv2d_backward_input: dy: expected [1,2,3,6], got [1,4,5,6]");
  CHECK(error_of([&] {
          kernels::conv2d_backward_weight(x, tensor({1, 2, 2, 6}), {}, dw);
        }) == "conv2d_backward_weight: dy: expected [1,2,3,6], got [1,2,2,6]");
  CHECK(error_of([&] {
          kernels::conv_transpose2d_output_shape({1, 4, 5, 8}, {6, 3, 3, 4}, {});
        }) == "conv_transpose2d: w: expected 8 rows, one per channel of x, got [6,3,3,4]");
  CHECK(error_of([&] {
          kernels::conv_transpose2d_output_shape({1, 4, 5, 8}, {8, 3, 3, 4}, {}, 1);
        }) == "conv_transpose2d: output_padding_h: expected 0 to 0, got 1");
}

TEST_CASE("Multiply-adds of DRN-D-22's stem") {
  CHECK(kernels::conv2d_multiply_adds({1, 1024, 2048, 16}, {16, 7, 7, 3}) == int64_t{1024} * 2048 * 16 * 147);
}

}  // namespace segrt::test
