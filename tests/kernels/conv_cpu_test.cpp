// What only the CPU has: several kernels for one convolution, chosen by shape. Each is tested where another would be
// chosen too, and at sizes that the emulator could not run.
#include <doctest/doctest.h>

#include <cstring>

#include "core/parallel.h"
#include "kernels/cpu/conv_direct.h"
#include "kernels/cpu/packed_weights.h"
#include "kernels/cpu/winograd.h"
#include "kernels/vendor/onednn_conv.h"
#include "tests/kernels/conv_cases.h"
#include "tests/kernels/reference_conv.h"
#include "tests/support/tensors.h"

namespace segrt::test {
namespace {
using kernels::ConvGeometry;

struct Float32Inputs {
  Float32Inputs(const ConvCase& c, Device& device)
      : s{c.x, c.w, kernels::conv2d_output_shape(c.x, c.w, c.g), c.g},
        x(random_normal(s.x, DType::f32, device, {.seed = 1})),
        w(random_normal(s.w, DType::f32, device, {.seed = 2})),
        dy(random_normal(s.y, DType::f32, device, {.seed = 3})),
        y(filled_with_nan(s.y, DType::f32, device)),
        dx(filled_with_nan(s.x, DType::f32, device)),
        dw(filled_with_nan(s.w, DType::f32, device)) {}

  void check_outputs() const {
    CHECK(relative_l2(y, reference::conv_forward(s, to_doubles(x), to_doubles(w))) <=
          tolerance(DType::f32, s.w[1] * s.w[2] * s.w[3]));
    CHECK(relative_l2(dx, reference::conv_backward_input(s, to_doubles(dy), to_doubles(w))) <=
          tolerance(DType::f32, s.w[0] / s.g.groups * s.w[1] * s.w[2]));
    CHECK(relative_l2(dw, reference::conv_backward_weight(s, to_doubles(x), to_doubles(dy))) <=
          tolerance(DType::f32, s.y[0] * s.y[1] * s.y[2]));
  }

  reference::Operands s;
  Tensor x, w, dy, y, dx, dw;
};

bool same_bits(const Tensor& a, const Tensor& b) { return std::memcmp(a.raw(), b.raw(), a.nbytes()) == 0; }
}  // namespace

TEST_CASE("The direct loops compute every convolution in float32") {
  auto device = Device::create("cpu");
  for (const ConvCase& c : conv_cases()) {
    CAPTURE(c.name);
    Float32Inputs in(c, *device);
    kernels::cpu::direct::conv2d_forward<float>(in.x, in.w, {}, c.g, in.y);
    kernels::cpu::direct::conv2d_backward_input<float>(in.dy, in.w, c.g, in.dx);
    kernels::cpu::direct::conv2d_backward_weight<float>(in.x, in.dy, c.g, in.dw);
    in.check_outputs();
  }
}

TEST_CASE("oneDNN computes every convolution that another kernel may be chosen for") {
  auto device = Device::create("cpu");
  for (const ConvCase& c : conv_cases()) {
    CAPTURE(c.name);
    Float32Inputs in(c, *device);
    REQUIRE(kernels::vendor::onednn_conv2d_forward(in.x, in.w, {}, c.g, in.y));
    REQUIRE(kernels::vendor::onednn_conv2d_backward_input(in.dy, in.w, c.g, in.dx));
    REQUIRE(kernels::vendor::onednn_conv2d_backward_weight(in.x, in.dy, c.g, in.dw));
    in.check_outputs();
  }
}

TEST_CASE("Winograd's tiles cover images of many blocks, and few threads or many give the same bits") {
  auto device = Device::create("cpu");
  // 6000 tiles: several blocks forward, two rounds of weight gradients; the last row and column of tiles stick out.
  const ConvCase c{"", {2, 158, 299, 32}, {32, 3, 3, 32}, ConvGeometry::square({.padding = 1})};
  if (!kernels::cpu::winograd::pays(c.x, c.w, c.x, c.g)) return;  // compiled for a CPU on which it never pays
  Float32Inputs in(c, *device);
  Tensor y = Tensor::like(in.y), dx = Tensor::like(in.dx), dw = Tensor::like(in.dw);
  const int usual = threads();
  for (const int count : {1, 3}) {
    CAPTURE(count);
    set_threads(count);
    kernels::cpu::winograd::conv2d_forward(in.x, in.w, {}, c.g, in.y);
    kernels::cpu::winograd::conv2d_backward_input(in.dy, in.w, c.g, in.dx);
    kernels::cpu::winograd::conv2d_backward_weight(in.x, in.dy, c.g, in.dw);
    if (count == 1) {
      y.copy_from(in.y), dx.copy_from(in.dx), dw.copy_from(in.dw);
      continue;
    }
    CHECK(same_bits(y, in.y));
    CHECK(same_bits(dx, in.dx));
    CHECK(same_bits(dw, in.dw));
  }
  set_threads(usual);
  // float64 loops would take seconds here; oneDNN is checked against them above.
  REQUIRE(kernels::vendor::onednn_conv2d_forward(in.x, in.w, {}, c.g, y));
  REQUIRE(kernels::vendor::onednn_conv2d_backward_input(in.dy, in.w, c.g, dx));
  REQUIRE(kernels::vendor::onednn_conv2d_backward_weight(in.x, in.dy, c.g, dw));
  CHECK(relative_l2(in.y, y) <= tolerance(DType::f32, 288));
  CHECK(relative_l2(in.dx, dx) <= tolerance(DType::f32, 288));
  CHECK(relative_l2(in.dw, dw) <= tolerance(DType::f32, 2 * 158 * 299));
}

TEST_CASE("Winograd's long sums stray no farther than a direct convolution's") {
  auto device = Device::create("cpu");
  const ConvGeometry g = ConvGeometry::square({.padding = 1});
  // 512 channels at each point of a tile; 1600 tiles in a weight gradient. Summed in order they stray by 2.1e-6 and
  // 3.5e-6, in pieces by 7.4e-7 and 1.1e-6; oneDNN's sums over channels stray by 9.1e-7.
  const ConvCase forward{"", {1, 8, 8, 512}, {32, 3, 3, 512}, g}, input{"", {1, 8, 8, 32}, {512, 3, 3, 32}, g};
  const ConvCase weight{"", {1, 160, 160, 32}, {32, 3, 3, 32}, g};
  if (!kernels::cpu::winograd::pays(forward.x, forward.w, {1, 8, 8, 32}, g)) return;
  Float32Inputs f(forward, *device), i(input, *device), w(weight, *device);
  kernels::cpu::winograd::conv2d_forward(f.x, f.w, {}, g, f.y);
  CHECK(relative_l2(f.y, reference::conv_forward(f.s, to_doubles(f.x), to_doubles(f.w))) <= 9e-7);
  kernels::cpu::winograd::conv2d_backward_input(i.dy, i.w, g, i.dx);
  CHECK(relative_l2(i.dx, reference::conv_backward_input(i.s, to_doubles(i.dy), to_doubles(i.w))) <= 9e-7);
  kernels::cpu::winograd::conv2d_backward_weight(w.x, w.dy, g, w.dw);
  CHECK(relative_l2(w.dw, reference::conv_backward_weight(w.s, to_doubles(w.x), to_doubles(w.dy))) <= 1.3e-6);
}

TEST_CASE("bf16 convolutions of wide images are right and stay in their bounds") {
  // oneDNN 2.6.3's bf16 weight gradient on AMX is wrong from width 384 on, and from 225 on at heights like 24 and 96.
  auto device = Device::create("cpu");
  constexpr double kCanary = 12288;  // exact in bf16
  constexpr int64_t kGuard = 4;
  struct Size {
    int64_t height, width;
  };
  for (const auto [height, width] : {Size{4, 256}, {4, 384}, {4, 512}, {4, 1024}, {24, 224}, {24, 225}, {96, 256}})
    for (const int64_t channels : {16, 24}) {
      CAPTURE(height);
      CAPTURE(width);
      CAPTURE(channels);
      const reference::Operands s{{1, height, width, channels},
                                  {16, 3, 3, channels},
                                  {1, height, width, 16},
                                  ConvGeometry::square({.padding = 1})};
      const Tensor x = random_normal(s.x, DType::bf16, *device, {.seed = 5});
      const Tensor w = random_normal(s.w, DType::bf16, *device, {.seed = 6});
      const Tensor dy = random_normal(s.y, DType::bf16, *device, {.seed = 7});
      // The output lies between guard rows of a larger tensor.
      const auto guarded = [&](const Shape& shape, DType dtype) {
        const Shape rows{shape[0] + 2 * kGuard, shape[1], shape[2], shape[3]};
        return from_doubles(rows, std::vector<double>(static_cast<size_t>(rows.numel()), kCanary), dtype, *device);
      };
      const auto check_guards = [&](const Tensor& whole) {
        for (const Tensor& guard : {whole.slice(0, kGuard), whole.slice(whole.dim(0) - kGuard, kGuard)})
          CHECK(to_doubles(guard) == std::vector<double>(static_cast<size_t>(guard.numel()), kCanary));
      };
      for (const DType dtype : {DType::bf16, DType::f32}) {
        const Tensor whole = guarded(s.w, dtype);
        Tensor dw = whole.slice(kGuard, s.w[0]);
        kernels::conv2d_backward_weight(x, dy, s.g, dw);
        CHECK(relative_l2(dw, reference::conv_backward_weight(s, to_doubles(x), to_doubles(dy))) <=
              tolerance(dtype, height * width));
        check_guards(whole);
      }
      const Tensor whole_y = guarded(s.y, DType::bf16), whole_dx = guarded(s.x, DType::bf16);
      Tensor y = whole_y.slice(kGuard, 1), dx = whole_dx.slice(kGuard, 1);
      kernels::conv2d_forward(x, w, {}, s.g, y);
      kernels::conv2d_backward_input(dy, w, s.g, dx);
      CHECK(relative_l2(y, reference::conv_forward(s, to_doubles(x), to_doubles(w))) <=
            tolerance(DType::bf16, 9 * channels));
      CHECK(relative_l2(dx, reference::conv_backward_input(s, to_doubles(dy), to_doubles(w))) <=
            tolerance(DType::bf16, 9 * 16));
      check_guards(whole_y);
      check_guards(whole_dx);
    }
}

TEST_CASE("A convolution gives the same bits each time it runs with the same threads") {
  const ConvCase cases[] = {
      {"stem", {1, 33, 40, 3}, {16, 7, 7, 3}, ConvGeometry::square({.padding = 3})},
      {"stride 2", {2, 31, 40, 16}, {32, 3, 3, 16}, ConvGeometry::square({.stride = 2, .padding = 1})},
      {"3x3", {2, 31, 40, 64}, {64, 3, 3, 64}, ConvGeometry::square({.padding = 1})},
      {"depthwise", {2, 31, 40, 48}, {48, 3, 3, 1}, ConvGeometry::square({.padding = 1, .groups = 48})},
  };
  const int usual = threads();
  set_threads(2);
  for (const ConvCase& c : cases) {
    CAPTURE(c.name);
    auto device = Device::create("cpu");
    std::vector<Tensor> first;
    for (int run = 0; run < 3; ++run) {
      Float32Inputs in(c, *device);
      kernels::conv2d_forward(in.x, in.w, {}, c.g, in.y);
      kernels::conv2d_backward_input(in.dy, in.w, c.g, in.dx);
      kernels::conv2d_backward_weight(in.x, in.dy, c.g, in.dw);
      if (run == 0) first = {in.y, in.dx, in.dw};
      CHECK(same_bits(first[0], in.y));
      CHECK(same_bits(first[1], in.dx));
      CHECK(same_bits(first[2], in.dw));
    }
  }
  set_threads(usual);
}

TEST_CASE("Packed weights are kept when they are asked for again, and within a limit") {
  auto device = Device::create("cpu");
  kernels::cpu::PackedWeights packed;
  int count = 0;
  const auto get = [&](const Tensor& w, size_t nbytes) {
    return packed.get(w, 1, nbytes, [&](const Tensor&) { ++count; });
  };
  const Tensor w = Tensor::zeros({4}, DType::f32, *device);
  for (int i = 0; i < 5; ++i) get(w, 1000);
  CHECK(count == 2);  // the second copy is kept
  CHECK(packed.kept_bytes() == 1000);
  w.bump_version();
  get(w, 1000);
  CHECK(count == 3);
  CHECK(packed.kept_bytes() == 0);  // changed, as in training: used once

  const Tensor large = Tensor::zeros({4}, DType::f32, *device);
  for (int i = 0; i < 3; ++i) get(large, static_cast<size_t>(kernels::cpu::PackedWeights::kLimitBytes) + 1);
  CHECK(packed.kept_bytes() == 0);
  for (uint64_t i = 0; i < kernels::cpu::PackedWeights::kForgetAfter + 5; ++i) get(w, 1000);
  CHECK(packed.entries() == 1);  // nobody has asked for the large one
}

}  // namespace segrt::test
