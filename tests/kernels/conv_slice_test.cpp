// conv2d_forward_slice against conv2d_forward, whose values conv_test.cpp checks: the same bits in the slice, and not a
// bit changed beside it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/op_profile.h"
#include "kernels/conv.h"
#include "kernels/cuda/tile_choice.h"
#include "kernels/elementwise.h"
#include "kernels/vendor_mode.h"
#include "tests/kernels/conv_cases.h"
#include "tests/kernels/reference_conv.h"
#include "tests/support/tensors.h"

namespace segrt::test {
namespace {
using kernels::ConvEpilogue;
using kernels::ConvGeometry;

constexpr double kSentinel = -7.25;  // exact in every type, and nothing that a ReLU leaves

// Channels [first, first + count) of t, or all others.
std::vector<double> channels_of(const Tensor& t, int64_t first, int64_t count, bool others = false) {
  std::vector<double> chosen;
  const std::vector<double> values = to_doubles(t);
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t c = static_cast<int64_t>(i) % t.dim(3);
    if ((c >= first && c < first + count) != others) chosen.push_back(values[i]);
  }
  return chosen;
}

struct Problem {
  Problem(const ConvCase& c, DType dtype, Device& device)
      : s{c.x, c.w, kernels::conv2d_output_shape(c.x, c.w, c.g), c.g},
        x(random_normal(s.x, dtype, device, {.seed = 31})),
        w(random_normal(s.w, dtype, device, {.seed = 32})),
        bias(random_normal({s.w[0]}, dtype == DType::f64 ? DType::f64 : DType::f32, device, {.seed = 33})) {}

  Tensor whole(bool relu) const {
    Tensor y = filled_with_nan(s.y, x.dtype(), x.device());
    kernels::conv2d_forward(x, w, {.bias = &bias, .relu = relu}, s.g, y);
    return y;
  }
  Tensor slice(bool relu, int64_t channel, int64_t total) const {
    Tensor y = Tensor::empty({s.y[0], s.y[1], s.y[2], total}, x.dtype(), x.device());
    kernels::fill(y, kSentinel);
    kernels::conv2d_forward_slice(x, w, {.bias = &bias, .relu = relu}, s.g, y, channel);
    return y;
  }

  reference::Operands s;
  Tensor x, w, bias;
};

// At the start, the middle and the end; where vectors of 16 bytes fit and where one of start and width forbids them.
void check_slices(const Problem& p) {
  const int64_t own = p.s.y[3];
  const std::vector<double> expected = to_doubles(p.whole(true));
  const int64_t places[][2] = {{0, own}, {0, own + 16}, {8, own + 8}, {16, own + 17}, {1, own + 8}, {5, own + 13}};
  for (const auto& [channel, total] : places) {
    CAPTURE(channel);
    CAPTURE(total);
    const Tensor y = p.slice(true, channel, total);
    CHECK(channels_of(y, channel, own) == expected);
    const std::vector<double> beside = channels_of(y, channel, own, /*others=*/true);
    CHECK(std::all_of(beside.begin(), beside.end(), [](double v) { return v == kSentinel; }));
  }
}

std::vector<ConvCase> cases() {
  std::vector<ConvCase> all = conv_cases();
  using G = ConvGeometry;
  all.push_back({"Winograd on a CPU", {1, 9, 12, 64}, {64, 3, 3, 64}, G::square({.padding = 1})});
  all.push_back({"the same, dilated", {1, 16, 16, 64}, {64, 3, 3, 64}, G::square({.padding = 2, .dilation = 2})});
  all.push_back({"1x1, two wide tiles", {1, 9, 15, 64}, {136, 1, 1, 64}, {}});
  return all;
}

std::string forward_error(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, Tensor y, int64_t channel) {
  return error_of([&] { kernels::conv2d_forward_slice(x, w, epilogue, ConvGeometry{}, y, channel); });
}
}  // namespace

TEST_CASE("a slice of a wider map gets conv2d_forward's bits and its neighbours keep theirs") {
  for (auto& device : test_devices()) {
    device->state<kernels::VendorMode>().enabled = false;  // a GPU's own kernels; vendors' are below
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const ConvCase& c : cases()) {
        CAPTURE(device->name());
        CAPTURE(c.name);
        CAPTURE(dtype);
        check_slices(Problem(c, dtype, *device));
      }
  }
}

TEST_CASE("other types, and whatever kernels a device would choose") {
  for (auto& device : test_devices()) {
    std::vector<DType> dtypes{DType::f32, DType::bf16, DType::f16};
    if (device->is_cpu()) dtypes.push_back(DType::f64);
    for (const DType dtype : dtypes)
      for (const ConvCase& c : {ConvCase{"1x1", {2, 5, 6, 16}, {24, 1, 1, 16}, {}},
                                ConvCase{"3x3", {1, 7, 6, 8}, {16, 3, 3, 8}, ConvGeometry::square({.padding = 1})}}) {
        CAPTURE(device->name());
        CAPTURE(c.name);
        CAPTURE(dtype);
        check_slices(Problem(c, dtype, *device));
      }
  }
}

TEST_CASE("every tile of the CUDA kernels writes slices") {
  for (auto& device : test_devices()) {
    if (!device->is_cuda()) continue;
    device->state<kernels::VendorMode>().enabled = false;
    for (const kernels::cuda::TileShape& tile : kernels::cuda::kTileShapes) {
      device->state<kernels::cuda::TilePreference>().tile = tile;
      CAPTURE(tile.rows);
      CAPTURE(tile.columns);
      check_slices(Problem({"", {1, 9, 15, 40}, {136, 1, 1, 40}, {}}, DType::bf16, *device));
      check_slices(Problem({"", {1, 5, 6, 16}, {48, 3, 3, 8}, ConvGeometry::square({.padding = 1, .groups = 2})},
                           DType::bf16, *device));
    }
  }
}

TEST_CASE("slices side by side are the concatenation, and agree with float64") {
  for (auto& device : test_devices()) {
    CAPTURE(device->name());
    const Problem a({"", {1, 8, 9, 64}, {64, 3, 3, 64}, ConvGeometry::square({.padding = 1})}, DType::f32, *device);
    const Problem b({"", {1, 8, 9, 12}, {19, 1, 1, 12}, {}}, DType::f32, *device);
    Tensor y = filled_with_nan({1, 8, 9, 83}, DType::f32, *device);
    kernels::conv2d_forward_slice(b.x, b.w, {}, b.s.g, y, 64);
    kernels::conv2d_forward_slice(a.x, a.w, {}, a.s.g, y, 0);
    CHECK(relative_l2(channels_of(y, 0, 64), reference::conv_forward(a.s, to_doubles(a.x), to_doubles(a.w))) <=
          tolerance(DType::f32, 9 * 64));
    CHECK(relative_l2(channels_of(y, 64, 19), reference::conv_forward(b.s, to_doubles(b.x), to_doubles(b.w))) <=
          tolerance(DType::f32, 12));
  }
}

TEST_CASE("what cannot be a slice is refused by name") {
  for (auto& device : test_devices()) {
    CAPTURE(device->name());
    const auto tensor = [&](const Shape& s, DType dtype = DType::f32) { return Tensor::zeros(s, dtype, *device); };
    const Tensor x = tensor({1, 4, 5, 3}), w = tensor({6, 1, 1, 3}), wide = tensor({1, 4, 5, 9});
    CHECK(forward_error(x, w, {}, wide, 3).empty());
    CHECK(forward_error(x, w, {}, wide, 4) == "conv2d_slice: channel: expected 0 to 3 (6 of 9 channels), got 4");
    CHECK(forward_error(x, w, {}, wide, -1) == "conv2d_slice: channel: expected 0 to 3 (6 of 9 channels), got -1");
    CHECK(forward_error(x, w, {}, tensor({1, 4, 5, 5}), 0) == "conv2d_slice: y: expected 6 channels or more, got 5");
    CHECK(forward_error(x, w, {}, tensor({1, 4, 4, 9}), 0) ==
          "conv2d_slice: y: expected [1,4,5,6] up to its last extent, got [1,4,4,9]");
    CHECK(forward_error(x, w, {}, tensor({1, 4, 5, 9}, DType::bf16), 0) == "conv2d_slice: y: expected f32, got bf16");
    CHECK(forward_error(x, tensor({6, 1, 1, 4}), {}, wide, 0).find("conv2d_slice: w: expected 3 input channels") == 0);
    const Tensor short_bias = tensor({5}), wide_bias = tensor({9}), bias16 = tensor({6}, DType::bf16);
    CHECK(forward_error(x, w, {.bias = &short_bias}, wide, 0) == "conv2d_slice: bias: expected [6], got [5]");
    CHECK(forward_error(x, w, {.bias = &wide_bias}, wide, 0) == "conv2d_slice: bias: expected [6], got [9]");
    CHECK(forward_error(x, w, {.bias = &bias16}, wide, 0) == "conv2d_slice: bias: expected f32, got bf16");
    CHECK(forward_error(x, w, {.residual = &wide}, wide, 0) == "conv2d_slice: residual: expected none, got one");
    CHECK(forward_error(x, w, {}, Tensor(), 0) == "conv2d_slice: y: expected a tensor, got an undefined one");
  }
}

TEST_CASE("without channels to add, a slice gets the bias; without pixels, nothing") {
  for (auto& device : test_devices()) {
    CAPTURE(device->name());
    const Problem nothing({"", {1, 2, 3, 0}, {4, 1, 1, 0}, {}}, DType::f32, *device);
    const Tensor y = nothing.slice(false, 2, 7);
    const std::vector<double> got = channels_of(y, 2, 4), bias = to_doubles(nothing.bias);
    REQUIRE(got.size() == 24);
    for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == bias[i % 4]);
    for (const double v : channels_of(y, 2, 4, /*others=*/true)) CHECK(v == kSentinel);
    const Problem empty({"", {0, 2, 3, 5}, {4, 1, 1, 5}, {}}, DType::f32, *device);
    CHECK(empty.slice(false, 2, 7).numel() == 0);
  }
}

TEST_CASE("a profile says what a slice costs, and who copies") {
  const ConvCase cases[] = {
      {"3x3", {1, 8, 8, 64}, {64, 3, 3, 64}, ConvGeometry::square({.padding = 1})},
      {"depthwise", {1, 8, 8, 64}, {64, 3, 3, 1}, ConvGeometry::square({.padding = 1, .groups = 64})}};
  for (auto& device : test_devices()) {
    if (!device->is_cuda()) continue;  // which kernel a CPU takes depends on its instructions
    device->state<kernels::VendorMode>().enabled = false;
    for (const ConvCase& c : cases) {
      CAPTURE(c.name);
      const Problem p(c, DType::f32, *device);
      OpProfile profile(*device);
      p.slice(true, 32, 128);
      profile.stop();
      int64_t slices = 0, copies = 0;
      for (const ProfileSpan& s : profile.spans()) {
        copies += s.name == "copy_into_channels" ? 1 : 0;
        if (s.name != "conv2d_slice") continue;
        ++slices;
        CHECK(s.work.flops == 2 * p.s.y.numel() * 9 * p.s.w[3]);
        CHECK(s.work.bytes == 4 * (p.s.x.numel() + p.s.w.numel() + 64 + p.s.y.numel()));
      }
      CHECK(slices == 1);
      CHECK(copies == (c.name == "depthwise" ? 1 : 0));
    }
  }
}

}  // namespace segrt::test
