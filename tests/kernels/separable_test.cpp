#include "kernels/separable.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/kernels/reference_conv.h"
#include "tests/support/tensors.h"

namespace segrt::test {
namespace {
using kernels::ConvGeometry;

struct Case {
  const char* name;
  Shape x;
  int64_t outputs;
  ConvGeometry g;
};
ConvGeometry same(int channels) { return ConvGeometry::square({.padding = 1, .groups = channels}); }

// All but "no vectors" and "more outputs than a tile" fuse on CUDA.
std::vector<Case> cases() {
  return {{"one pixel", {1, 1, 1, 16}, 16, same(16)},
          {"a row is one panel", {2, 3, 14, 32}, 64, same(32)},
          {"a row is two panels and a pixel", {1, 4, 29, 64}, 64, same(64)},
          {"channels and outputs left over", {2, 5, 7, 24}, 20, same(24)},
          {"no vectors", {1, 5, 9, 19}, 33, same(19)},
          {"more outputs than a tile", {1, 3, 4, 40}, 136, same(40)},
          {"several tiles of pixels", {2, 12, 11, 128}, 72, same(128)},
          {"stride 2", {2, 9, 6, 16}, 24, ConvGeometry::square({2, 1, 1, 16})},
          {"no padding above, two below", {1, 5, 6, 16}, 8, {1, 1, 0, 1, 2, 0, 1, 1, 16}}};
}

struct Operands {
  Operands(const Case& c, DType dtype, Device& device)
      : depthwise_shape{c.x[3], 3, 3, 1},
        pointwise_shape{c.outputs, 1, 1, c.x[3]},
        middle(kernels::conv2d_output_shape(c.x, depthwise_shape, c.g)),
        y{middle[0], middle[1], middle[2], c.outputs},
        x(random_normal(c.x, dtype, device, {.seed = 1})),
        depthwise(random_normal(depthwise_shape, dtype, device, {.seed = 2})),
        pointwise(random_normal(pointwise_shape, dtype, device, {.seed = 3})),
        bias(random_normal({c.outputs}, DType::f32, device, {.seed = 4})),
        residual(random_normal(y, dtype, device, {.seed = 5})) {}

  std::vector<double> expected(const Case& c, bool with_bias, bool with_residual, bool relu) const {
    const auto m = reference::conv_forward({c.x, depthwise_shape, middle, c.g}, to_doubles(x), to_doubles(depthwise));
    auto sums = reference::conv_forward({middle, pointwise_shape, y, {}}, m, to_doubles(pointwise));
    const auto b = to_doubles(bias), r = to_doubles(residual);
    for (size_t i = 0; i < sums.size(); ++i) {
      if (with_bias) sums[i] += b[i % b.size()];
      if (with_residual) sums[i] += r[i];
      if (relu) sums[i] = std::max(sums[i], 0.0);
    }
    return sums;
  }

  Shape depthwise_shape, pointwise_shape, middle, y;
  Tensor x, depthwise, pointwise, bias, residual;
};
}  // namespace

TEST_CASE("separable_conv2d agrees with float64, with every epilogue, on every device") {
  for (const auto& device : test_devices()) {
    int fused = 0;
    for (const Case& c : cases())
      for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
        const Operands o(c, dtype, *device);
        fused += kernels::separable_conv2d_fuses(o.x, c.outputs);
        for (const bool bias : {false, true})
          for (const bool residual : {false, true})
            for (const bool relu : {false, true}) {
              CAPTURE(device->name());
              CAPTURE(c.name);
              CAPTURE(dtype);
              CAPTURE(bias);
              CAPTURE(residual);
              CAPTURE(relu);
              const auto expected = o.expected(c, bias, residual, relu);
              const Tensor* b = bias ? &o.bias : nullptr;
              Tensor y = filled_with_nan(o.y, dtype, *device);
              kernels::separable_conv2d_forward(o.x, o.depthwise, c.g, o.pointwise,
                                                {b, residual ? &o.residual : nullptr, relu}, y);
              // Two sums, the first of which is rounded to the dtype.
              CHECK(relative_l2(y, expected) <= tolerance(dtype, 9 + c.x[3] + 2));
              if (!residual) continue;
              Tensor in_place = o.residual.clone();
              kernels::separable_conv2d_forward(o.x, o.depthwise, c.g, o.pointwise, {b, &in_place, relu}, in_place);
              CHECK(relative_l2(in_place, expected) <= tolerance(dtype, 9 + c.x[3] + 2));
            }
      }
    CHECK(fused == (device->is_cuda() ? 3 * 7 : 0));
  }
}

TEST_CASE("separable_conv2d names what does not fit") {
  for (const auto& device : test_devices()) {
    const Case c{"", {1, 4, 5, 16}, 8, same(16)};
    Operands o(c, DType::f32, *device);
    Tensor y = filled_with_nan(o.y, DType::f32, *device), odd = filled_with_nan({1, 4, 5, 9}, DType::f32, *device);
    const auto error = [&](const ConvGeometry& g, const kernels::ConvEpilogue& e, Tensor& to) {
      return error_of([&] { kernels::separable_conv2d_forward(o.x, o.depthwise, g, o.pointwise, e, to); });
    };
    CHECK(error(ConvGeometry::square({1, 2, 2, 16}), {}, y) == "separable_conv2d: dilation: expected 1");
    CHECK(error(c.g, {}, odd) == "separable_conv2d: y: expected [1,4,5,8], got [1,4,5,9]");
    CHECK(error(c.g, {}, o.x) == "separable_conv2d: y: expected [1,4,5,8], got [1,4,5,16]");
    CHECK(error(c.g, {.bias = &o.residual}, y).find("bias") != std::string::npos);
    CHECK(error(c.g, {.residual = &o.x}, y).find("residual") != std::string::npos);
  }
}

}  // namespace segrt::test
