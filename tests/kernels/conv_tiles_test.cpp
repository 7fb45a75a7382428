// The tiles of 16-bit convolutions (kernels/cuda/pipelined_tile.cuh): each of them in every direction, on problems that
// end before the pipeline is full, at edges of tiles, and on those that other tiles have to take over.
#include <doctest/doctest.h>

#include "kernels/conv.h"
#include "kernels/cuda/tile_choice.h"
#include "kernels/vendor_mode.h"
#include "tests/kernels/conv_cases.h"
#include "tests/kernels/reference_conv.h"
#include "tests/support/tensors.h"

namespace segrt::test {
namespace {
using kernels::ConvGeometry;
using kernels::cuda::choose_tile;
using kernels::cuda::TileShape;

std::vector<ConvCase> tile_cases() {
  return {
      {"one step", {1, 3, 5, 8}, {8, 1, 1, 8}, {}},
      {"one row, 24 to 40 channels", {1, 1, 150, 24}, {40, 3, 3, 24}, ConvGeometry::square({.padding = 1})},
      {"1x1, one more than tiles", {1, 3, 43, 40}, {136, 1, 1, 40}, {}},
      {"1x1, stride 2", {1, 9, 14, 16}, {72, 1, 1, 16}, ConvGeometry::square({.stride = 2})},
      {"19 outputs: gradients cannot move in vectors", {1, 6, 7, 32}, {19, 1, 1, 32}, {}},
      {"18 steps", {2, 5, 6, 64}, {32, 3, 3, 64}, ConvGeometry::square({.padding = 1})},
      {"stride 2, dilation 2",
       {1, 13, 11, 16},
       {48, 3, 3, 16},
       ConvGeometry::square({.stride = 2, .padding = 2, .dilation = 2})},
      {"dilation beyond the image", {1, 5, 6, 8}, {16, 3, 3, 8}, ConvGeometry::square({.padding = 9, .dilation = 9})},
      {"groups", {1, 6, 7, 48}, {80, 3, 3, 24}, ConvGeometry::square({.padding = 1, .groups = 2})},
      {"parts", {1, 24, 25, 8}, {8, 5, 5, 8}, ConvGeometry::square({.padding = 2})},
  };
}

void check_case(const ConvCase& c, DType dtype, Device& device) {
  const reference::Operands s{c.x, c.w, kernels::conv2d_output_shape(c.x, c.w, c.g), c.g};
  const Tensor x = random_normal(s.x, dtype, device, {.seed = 31}), w = random_normal(s.w, dtype, device, {.seed = 32});
  const Tensor dy = random_normal(s.y, dtype, device, {.seed = 33});
  const Tensor residual = random_normal(s.y, dtype, device, {.seed = 34});
  const Tensor bias = random_normal({s.y[3]}, DType::f32, device, {.seed = 35});
  const auto xs = to_doubles(x), ws = to_doubles(w), dys = to_doubles(dy);
  const int64_t taps = s.w[1] * s.w[2], pixels = s.y[0] * s.y[1] * s.y[2];

  Tensor y = filled_with_nan(s.y, dtype, device);
  kernels::conv2d_forward(x, w, {&bias, &residual, true}, c.g, y);
  auto expected = reference::conv_forward(s, xs, ws);
  const auto biases = to_doubles(bias), residuals = to_doubles(residual);
  for (size_t i = 0; i < expected.size(); ++i)
    expected[i] = std::max(0.0, expected[i] + biases[i % biases.size()] + residuals[i]);
  CHECK(relative_l2(y, expected) <= tolerance(dtype, taps * s.w[3]));

  Tensor dx = filled_with_nan(s.x, dtype, device);
  kernels::conv2d_backward_input(dy, w, c.g, dx);
  CHECK(relative_l2(dx, reference::conv_backward_input(s, dys, ws)) <= tolerance(dtype, taps * s.w[0] / c.g.groups));

  for (const DType of_dw : {DType::f32, dtype}) {
    Tensor dw = filled_with_nan(s.w, of_dw, device);
    kernels::conv2d_backward_weight(x, dy, c.g, dw);
    CHECK(relative_l2(dw, reference::conv_backward_weight(s, xs, dys)) <= tolerance(of_dw, pixels));
  }
}

}  // namespace

TEST_CASE("Every tile computes every convolution of 16-bit types") {
  if (!Device::cuda_available()) return;
  const auto device = Device::create("cuda");
  device->state<kernels::VendorMode>().enabled = false;
  for (const TileShape& tile : kernels::cuda::kTileShapes) {
    device->state<kernels::cuda::TilePreference>().tile = tile;
    CAPTURE(tile.rows);
    CAPTURE(tile.columns);
    for (const ConvCase& c : tile_cases()) {
      CAPTURE(c.name);
      check_case(c, DType::bf16, *device);
    }
    check_case(tile_cases()[1], DType::f16, *device);
    check_case(tile_cases()[6], DType::f16, *device);
  }
}

TEST_CASE("Strips of depthwise convolutions end at any column, and gather beyond any border") {
  if (!Device::cuda_available()) return;
  const auto device = Device::create("cuda");
  std::vector<ConvCase> cases;
  for (const int64_t width : {1, 3, 4, 5, 8, 11})
    for (const int64_t side : {3, 5})
      for (const int stride : {1, 2})
        for (const int pad : {0, static_cast<int>(side / 2), static_cast<int>(side)}) {
          if (width + 2 * pad < side) continue;
          cases.push_back({"",
                           {2, 5, width, 24},
                           {24, side, side, 1},
                           ConvGeometry::square({.stride = stride, .padding = pad, .groups = 24})});
        }
  cases.push_back({"",
                   {1, 6, 7, 264},
                   {264, 5, 5, 1},  // more channels than a block has
                   {.pad_top = 1, .pad_left = 3, .pad_bottom = 4, .pad_right = 0, .groups = 264}});
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const ConvCase& c : cases) {
      CAPTURE(dtype);
      CAPTURE(c.x);
      CAPTURE(c.w);
      CAPTURE(c.g.stride_h);
      CAPTURE(c.g.pad_top);
      check_case(c, dtype, *device);
    }
}

TEST_CASE("A sum of tile products keeps float32's accuracy") {
  if (!Device::cuda_available()) return;
  const auto device = Device::create("cuda");
  device->state<kernels::VendorMode>().enabled = false;
  // 512 products of 1 and 2^-9 each: in bf16 or f16 sums they would be lost behind the first ones.
  const Tensor x = from_doubles({1, 1, 1, 512}, std::vector<double>(512, 1.0), DType::bf16, *device);
  std::vector<double> weights(static_cast<size_t>(8 * 512), 0x1p-9);
  for (size_t o = 0; o < 8; ++o) weights[o * 512] = 1.0 - 0x1p-8;
  const Tensor w = from_doubles({8, 1, 1, 512}, weights, DType::bf16, *device);
  Tensor y = filled_with_nan({1, 1, 1, 8}, DType::bf16, *device);
  kernels::conv2d_forward(x, w, {}, {}, y);
  const double exact = 1.0 - 0x1p-8 + 511 * 0x1p-9;
  for (const double value : to_doubles(y)) CHECK(std::abs(value - exact) <= exact * 0x1p-8);
}

TEST_CASE("Tiles follow the shape of the product") {
  // Images of DRN at a quarter and an eighth of 1024 x 2048: as large as possible, not wider than the outputs.
  CHECK(choose_tile({256 * 512, 16, 1}) == TileShape{128, 32});
  CHECK(choose_tile({256 * 512, 64, 1}) == TileShape{128, 64});
  CHECK(choose_tile({128 * 256, 512, 1}) == TileShape{128, 128});
  // 32 x 64 pixels: large tiles would leave half of the processors without one.
  CHECK(choose_tile({32 * 64, 128, 1}) == TileShape{64, 64});
  // A weight gradient is cut along its depth instead.
  CHECK(choose_tile({9 * 512, 512, 1, true}) == TileShape{128, 128});
  CHECK(choose_tile({9 * 64, 64, 1, true}) == TileShape{128, 64});
}

}  // namespace segrt::test
