#include "kernels/deform.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "tests/kernels/reference_deform.h"
#include "tests/support/tensors.h"

#if __has_include("emulator/control.h")
#include "emulator/control.h"
#endif

namespace segrt {
namespace {
using namespace test;
using kernels::DeformGeometry;

struct Case {
  const char* name;
  Shape x;
  DeformGeometry g;
  double spread = 1.5;  // of the offsets, in pixels
};
const Case kCases[] = {
    {"one of each", {1, 1, 1, 1}, {.kernel_h = 1, .kernel_w = 1}, 0.5},
    {"3x3", {2, 5, 7, 6}, {.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1}},
    {"no offsets", {1, 6, 5, 16}, {.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1}, 0},
    {"far offsets", {1, 6, 5, 19}, {.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1}, 8},
    {"strides that differ",
     {2, 7, 6, 33},
     {.stride_h = 2, .stride_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1}},
    {"dilations that differ",
     {1, 6, 9, 8},
     {.pad_top = 2, .pad_left = 3, .pad_bottom = 1, .pad_right = 2, .dilation_h = 2, .dilation_w = 3}},
    {"2x3 kernel, two groups", {2, 4, 6, 10}, {.kernel_h = 2, .kernel_w = 3, .pad_right = 1, .groups = 2}},
    {"vectors in four groups", {1, 4, 5, 64}, {.kernel_h = 3, .kernel_w = 1, .pad_top = 1, .groups = 4}},
    {"a group a channel", {1, 3, 4, 5}, {.kernel_h = 2, .kernel_w = 2, .groups = 5}},
    {"a map smaller than the kernel",
     {1, 2, 3, 40},
     {.kernel_h = 5, .kernel_w = 5, .pad_top = 2, .pad_left = 2, .pad_bottom = 2, .pad_right = 2}},
    {"wide channels", {1, 2, 3, 257}, {.kernel_h = 2, .kernel_w = 2, .pad_top = 1}},
};

// Multiples of an eighth: exact in every dtype, and so are the coordinates; one in eight lies on a row or column of
// pixels, where derivatives are those to the right.
std::vector<double> offsets(int64_t count, double spread, uint64_t seed) {
  const auto cpu = Device::create("cpu");
  std::vector<double> values = to_doubles(random_normal({count}, DType::f64, *cpu, {.seed = seed, .std = spread}));
  for (double& v : values) v = std::round(std::clamp(v, -31.0, 31.0) * 8) / 8;
  return values;
}

// The operator's tensors for one case, and the reference of the same, rounded, numbers.
struct Problem {
  Problem(const Case& c, DType dtype, Device& device, bool masked) : g(c.g) {
    const Shape out = kernels::deform_output_shape("test", c.x, g);
    const int64_t samples = int64_t{g.groups} * g.kernel_h * g.kernel_w;
    const Shape of_offset{out[0], out[1], out[2], 2 * samples};
    x = random_normal(c.x, dtype, device, {.seed = 1});
    offset = from_doubles(of_offset, offsets(of_offset.numel(), c.spread, 2), dtype, device);
    if (masked) mask = random_uniform({out[0], out[1], out[2], samples}, dtype, device, -1, 2, 3);
    dcolumns = random_normal({out[0] * out[1], out[2], g.kernel_h * g.kernel_w, c.x[3]}, dtype, device, {.seed = 4});
    reference = test::reference::unfold(
        {c.x, out, g, to_doubles(x), to_doubles(offset), masked ? to_doubles(mask) : std::vector<double>()},
        to_doubles(dcolumns));
  }
  kernels::DeformInput input() const { return {x, offset, mask.defined() ? &mask : nullptr, g}; }
  Tensor zero_dx() const {
    return Tensor::zeros(x.shape(), x.dtype() == DType::f64 ? DType::f64 : DType::f32, x.device());
  }

  DeformGeometry g;
  Tensor x, offset, mask, dcolumns;
  test::reference::Unfolded reference;
};

Tensor nan_like(const Tensor& t) { return filled_with_nan(t.shape(), t.dtype(), t.device()); }

template <typename F>
void for_each_problem(const F& f) {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Case& c : kCases)
        for (const bool masked : {false, true}) {
          CAPTURE(device->name());
          CAPTURE(dtype);
          CAPTURE(c.name);
          CAPTURE(masked);
          f(Problem(c, dtype, *device, masked));
        }
}
}  // namespace

TEST_CASE("deformable unfolding agrees with its definition") {
  for_each_problem([](const Problem& p) {
    Tensor columns = nan_like(p.dcolumns);
    kernels::deform_unfold(p.input(), 0, columns);
    CHECK(relative_l2(columns, p.reference.columns) <= tolerance(p.x.dtype(), 4));
  });
}

TEST_CASE("gradients of deformable unfolding agree with their definitions, together and alone") {
  for_each_problem([](const Problem& p) {
    const DType dtype = p.x.dtype(), wide = p.zero_dx().dtype();
    const int64_t samples = p.dcolumns.dim(1) * p.dcolumns.dim(0) * p.dcolumns.dim(2), terms = 4 * p.x.dim(3);
    Tensor dx = p.zero_dx(), doffset = nan_like(p.offset), dmask = p.mask.defined() ? nan_like(p.mask) : Tensor();
    Tensor* const dmask_or_none = p.mask.defined() ? &dmask : nullptr;
    kernels::deform_unfold_backward(p.input(), 0, p.dcolumns, {&dx, &doffset, dmask_or_none});
    CHECK(relative_l2(dx, p.reference.dx) <= tolerance(wide, samples));
    CHECK(relative_l2(doffset, p.reference.doffset) <= tolerance(dtype, terms));
    if (p.mask.defined()) CHECK(relative_l2(dmask, p.reference.dmask) <= tolerance(dtype, terms));

    Tensor dx_alone = p.zero_dx(), doffset_alone = nan_like(p.offset);
    kernels::deform_unfold_backward(p.input(), 0, p.dcolumns, {.dx = &dx_alone});
    kernels::deform_unfold_backward(p.input(), 0, p.dcolumns, {.doffset = &doffset_alone});
    CHECK(to_doubles(dx_alone) == to_doubles(dx));
    CHECK(to_doubles(doffset_alone) == to_doubles(doffset));
    if (!p.mask.defined()) return;
    Tensor dmask_alone = nan_like(p.mask);
    kernels::deform_unfold_backward(p.input(), 0, p.dcolumns, {.dmask = &dmask_alone});
    CHECK(to_doubles(dmask_alone) == to_doubles(dmask));
  });
}

TEST_CASE("some rows of a deformable unfolding are those of the whole") {
  for_each_problem([](const Problem& p) {
    Tensor whole = nan_like(p.dcolumns), whole_dx = p.zero_dx(), whole_doffset = nan_like(p.offset);
    kernels::deform_unfold(p.input(), 0, whole);
    kernels::deform_unfold_backward(p.input(), 0, p.dcolumns, {.dx = &whole_dx, .doffset = &whole_doffset});
    Tensor columns = nan_like(whole), dx = p.zero_dx(), doffset = nan_like(p.offset);
    const int64_t rows = whole.dim(0), step = std::max<int64_t>(1, rows * 2 / 5);  // parts that cross images
    for (int64_t row = 0; row < rows; row += step) {
      const int64_t count = std::min(step, rows - row);
      Tensor part = columns.slice(row, count);
      kernels::deform_unfold(p.input(), row, part);
      kernels::deform_unfold_backward(p.input(), row, p.dcolumns.slice(row, count), {.dx = &dx, .doffset = &doffset});
    }
    CHECK(to_doubles(columns) == to_doubles(whole));
    CHECK(to_doubles(doffset) == to_doubles(whole_doffset));
    CHECK(relative_l2(dx, whole_dx) <= tolerance(dx.dtype(), rows / step + 1));
  });
}

TEST_CASE("a gradient of the map is the same for any number and order of threads") {
  const Case c{"", {2, 9, 8, 96}, {.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1, .groups = 2}};
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const Problem p(c, DType::f32, *device, true);
    std::vector<std::vector<double>> results;
    for (const int run : {1, 2, 3, 16}) {
      set_threads(run);
#if __has_include("emulator/control.h")
      const uint64_t seed = emulator::seed();
      device->synchronize();
      emulator::set_seed(seed + static_cast<uint64_t>(run));
#endif
      Tensor dx = p.zero_dx();
      kernels::deform_unfold_backward(p.input(), 0, p.dcolumns, {.dx = &dx});
      results.push_back(to_doubles(dx));
#if __has_include("emulator/control.h")
      emulator::set_seed(seed);
#endif
      CHECK(results.back() == results.front());
    }
    set_threads(0);
  }
}

TEST_CASE("a gradient of the map keeps its precision at any magnitude") {
  const Case c{"", {1, 4, 4, 8}, {.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1}};
  for (const auto& device : test_devices())
    for (const double magnitude : {0x1p-110, 0x1p-60, 0x1p60, 0x1p120}) {
      CAPTURE(device->name());
      CAPTURE(magnitude);
      const Problem p(c, DType::f32, *device, false);
      std::vector<double> d = to_doubles(p.dcolumns), expected = p.reference.dx;
      for (double& v : d) v *= magnitude;
      for (double& v : expected) v *= magnitude;
      Tensor dx = p.zero_dx();
      kernels::deform_unfold_backward(p.input(), 0, from_doubles(p.dcolumns.shape(), d, DType::f32, *device),
                                      {.dx = &dx});
      CHECK(relative_l2(dx, expected) <= tolerance(DType::f32, 36));
    }
}

TEST_CASE("a gradient that is not finite is not lost; one that nobody reads is not met") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const Tensor x = random_normal({1, 2, 2, 8}, DType::f32, *device);
    const DeformGeometry g{.kernel_h = 1, .kernel_w = 1};
    for (const double wrong : {HUGE_VAL, std::numeric_limits<double>::quiet_NaN()})
      for (const bool outside : {false, true}) {
        const Tensor offset =
            from_doubles({1, 2, 2, 2}, {0, 0, 0, 0, 0, 0, outside ? 5.0 : 0.0, 0}, DType::f32, *device);
        std::vector<double> d(32, 1.0);
        d[30] = wrong;  // of the last pixel
        Tensor dx = Tensor::zeros(x.shape(), DType::f32, *device);
        kernels::deform_unfold_backward({x, offset, nullptr, g}, 0, from_doubles({2, 2, 1, 8}, d, DType::f32, *device),
                                        {.dx = &dx});
        const std::vector<double> values = to_doubles(dx);
        CHECK(std::isfinite(values[30]) == outside);
        if (outside)
          CHECK(values == std::vector<double>([] {
                  std::vector<double> ones(32, 1.0);
                  std::fill(ones.begin() + 24, ones.end(), 0.0);
                  return ones;
                }()));
      }
  }
}

TEST_CASE("samples far away, infinite or not a number are outside") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const Tensor x = random_normal({1, 1, 5, 4}, DType::f32, *device);
    const Tensor offset =
        from_doubles({1, 1, 5, 2}, {1e30, 0, 0, -1e30, HUGE_VAL, 0, nan, 0, 0, -0.5}, DType::f32, *device);
    const DeformGeometry g{.kernel_h = 1, .kernel_w = 1};
    Tensor columns = filled_with_nan({1, 5, 1, 4}, DType::f32, *device), dx = Tensor::zeros_like(x);
    Tensor doffset = nan_like(offset);
    kernels::deform_unfold({x, offset, nullptr, g}, 0, columns);
    const Tensor d = random_normal({1, 5, 1, 4}, DType::f32, *device, {.seed = 2});
    kernels::deform_unfold_backward({x, offset, nullptr, g}, 0, d, {.dx = &dx, .doffset = &doffset});
    const std::vector<double> values = to_doubles(columns), slopes = to_doubles(doffset), xs = to_doubles(x);
    for (size_t i = 0; i < 16; ++i) CHECK(values[i] == 0);
    for (size_t i = 0; i < 8; ++i) CHECK(slopes[i] == 0);
    for (size_t i = 16; i < 20; ++i) CHECK(values[i] == doctest::Approx((xs[i - 4] + xs[i]) / 2));
    for (size_t i = 0; i < 12; ++i) CHECK(to_doubles(dx)[i] == 0);
  }
}

TEST_CASE("deformable unfolding of nothing") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const DeformGeometry g{.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
    {  // no images
      const Tensor x = Tensor::empty({0, 4, 5, 8}, DType::f32, *device);
      const Tensor offset = Tensor::empty({0, 4, 5, 18}, DType::f32, *device);
      Tensor columns = Tensor::empty({0, 5, 9, 8}, DType::f32, *device), dx = Tensor::like(x);
      Tensor doffset = Tensor::like(offset);
      kernels::deform_unfold({x, offset, nullptr, g}, 0, columns);
      kernels::deform_unfold_backward({x, offset, nullptr, g}, 0, columns, {.dx = &dx, .doffset = &doffset});
    }
    {  // no channels
      const Tensor x = Tensor::empty({1, 2, 2, 0}, DType::f32, *device);
      const Tensor offset = random_normal({1, 2, 2, 18}, DType::f32, *device);
      Tensor columns = Tensor::empty({2, 2, 9, 0}, DType::f32, *device), dx = Tensor::like(x);
      Tensor doffset = nan_like(offset);
      kernels::deform_unfold({x, offset, nullptr, g}, 0, columns);
      kernels::deform_unfold_backward({x, offset, nullptr, g}, 0, columns, {.dx = &dx, .doffset = &doffset});
      CHECK(to_doubles(doffset) == std::vector<double>(72));
    }
    {  // no pixels
      const Tensor x = Tensor::empty({1, 0, 3, 4}, DType::f32, *device);
      const DeformGeometry tall{.pad_top = 2, .pad_bottom = 2};
      const Tensor offset = random_normal({1, 2, 1, 18}, DType::f32, *device);
      Tensor columns = filled_with_nan({2, 1, 9, 4}, DType::f32, *device), dx = Tensor::like(x);
      Tensor doffset = nan_like(offset);
      kernels::deform_unfold({x, offset, nullptr, tall}, 0, columns);
      kernels::deform_unfold_backward({x, offset, nullptr, tall}, 0, columns, {.dx = &dx, .doffset = &doffset});
      CHECK(to_doubles(columns) == std::vector<double>(72));
      CHECK(to_doubles(doffset) == std::vector<double>(36));
    }
  }
}

TEST_CASE("deformable unfolding refuses what does not fit") {
  const auto device = Device::create("cpu");
  const Tensor x = Tensor::zeros({1, 4, 5, 6}, DType::f32, *device);
  const Tensor offset = Tensor::zeros({1, 2, 3, 18}, DType::f32, *device);
  const Tensor mask = Tensor::zeros({1, 2, 3, 18}, DType::f32, *device);
  Tensor columns = Tensor::zeros({2, 3, 9, 6}, DType::f32, *device);
  const auto says = [&](const Tensor* m, const DeformGeometry& g, int64_t first_row, const char* message) {
    const std::string got = error_of([&] { kernels::deform_unfold({x, offset, m, g}, first_row, columns); });
    CAPTURE(got);
    CHECK(got.find(message) != std::string::npos);
  };
  says(nullptr, {.stride_h = 0}, 0, "deform_unfold: stride_h: expected at least 1, got 0");
  says(nullptr, {.groups = 4}, 0, "deform_unfold: groups: expected a divisor of x's 6 channels, got 4");
  says(nullptr, {.kernel_h = 5}, 0,
       "deform_unfold: x: expected a padded height of at least 5 (kernel 5, dilation 1), got 4 + 0 + 0");
  says(nullptr, {.groups = 2}, 0, "deform_unfold: offset: expected [1,2,3,36], got [1,2,3,18]");
  says(&mask, {}, 0, "deform_unfold: mask: expected [1,2,3,9], got [1,2,3,18]");
  says(nullptr, {}, 1, "deform_unfold: columns: expected rows within the 2 of all images, got [1, 3)");
  Tensor dmask = Tensor::like(mask);
  CHECK(error_of([&] {
          kernels::deform_unfold_backward({x, offset, nullptr, {}}, 0, columns, {.dmask = &dmask});
        }) == "deform_unfold_backward: dmask: expected none, as there is no mask");
}

}  // namespace segrt
