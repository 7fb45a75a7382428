#include <doctest/doctest.h>

#include <cmath>

#include "kernels/elementwise.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::test;
using kernels::Binary;

namespace {

double value_of(Binary op, double a, double b) {
  switch (op) {
    case Binary::add: return a + b;
    case Binary::sub: return a - b;
    case Binary::mul: return a * b;
    case Binary::div: return a / b;
    case Binary::max: return std::max(a, b);
    case Binary::min: return std::min(a, b);
  }
  return 0;
}
constexpr Binary kOps[] = {Binary::add, Binary::sub, Binary::mul, Binary::div, Binary::max, Binary::min};

// b broadcast to the elements of a.
std::vector<double> broadcast(const std::vector<double>& b, const Shape& part, const Shape& full) {
  std::vector<double> values(static_cast<size_t>(full.numel()));
  for (size_t i = 0; i < values.size(); ++i) {
    int64_t rest = static_cast<int64_t>(i), offset = 0, stride = 1;
    for (int d = full.rank() - 1, e = part.rank() - 1; e >= 0; --d, --e) {
      if (part[e] != 1) offset += rest % full[d] * stride;
      rest /= full[d];
      stride *= part[e];
    }
    values[i] = b[static_cast<size_t>(offset)];
  }
  return values;
}

struct Pair {
  Shape a, b;
};
const std::vector<Pair> kPairs = {
    {{1}, {1}},
    {{2, 3, 5, 19}, {2, 3, 5, 19}},
    {{2, 3, 5, 19}, {19}},           // a bias
    {{2, 9, 40, 16}, {16}},          // over several chunks
    {{2, 3, 5, 24}, {2, 1, 1, 24}},  // a gate a channel
    {{2, 3, 5, 19}, {2, 1, 1, 19}},
    {{2, 9, 13, 24}, {2, 9, 13, 1}},  // a gate a pixel
    {{2, 3, 5, 19}, {2, 3, 5, 1}},
    {{2, 3, 5, 8}, {}},
    {{2, 3, 5, 8}, {1, 1, 1, 1}},
    {{2, 3, 5, 19}, {1, 3, 1, 19}},
    {{2, 3, 5, 16}, {2, 1, 5, 1}},
    {{3, 1, 1, 7}, {3, 1, 1, 1}},
    {{2, 1500}, {1500}},
};

template <typename F>
void on_every_device_and_dtype(const F& f) {
  for (const auto& device : test_devices())
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
      if (dtype == DType::f64 && device->is_cuda()) continue;
      CAPTURE(device->name());
      CAPTURE(dtype);
      f(*device, dtype);
    }
}
}  // namespace

TEST_CASE("binary operators agree with float64 for every pattern of broadcasting") {
  on_every_device_and_dtype([](Device& device, DType dtype) {
    for (const auto& [a_shape, b_shape] : kPairs)
      for (const Binary op : kOps) {
        CAPTURE(a_shape);
        CAPTURE(b_shape);
        CAPTURE(static_cast<int>(op));
        const Tensor a = random_normal(a_shape, dtype, device, {.seed = 1});
        const Tensor b = random_uniform(b_shape, dtype, device, 0.5, 2, 2);
        const std::vector<double> as = to_doubles(a), bs = broadcast(to_doubles(b), b_shape, a_shape);
        std::vector<double> expected(as.size());
        for (size_t i = 0; i < as.size(); ++i) expected[i] = value_of(op, as[i], bs[i]);
        Tensor y = filled_with_nan(a_shape, dtype, device);
        kernels::binary_forward(op, a, b, y);
        CHECK(relative_l2(y, expected) <= tolerance(dtype));
        Tensor in_place = a.clone();
        kernels::binary_forward(op, in_place, b, in_place);
        CHECK(to_doubles(in_place) == to_doubles(y));
      }
  });
}

TEST_CASE("binary operators take tensors that no vector access may touch") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const Tensor bias = random_normal({17}, DType::f32, *device).slice(1, 16);
    const Tensor a = random_normal({10, 16}, DType::f32, *device, {.seed = 4});
    const Tensor shifted = random_normal({161}, DType::f32, *device).slice(1, 160).reshape({10, 16});
    const std::vector<double> b = broadcast(to_doubles(bias), {16}, {10, 16});
    for (const Tensor& x : {a, shifted}) {
      std::vector<double> expected = to_doubles(x);
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += b[i];
      Tensor y = filled_with_nan({10, 16}, DType::f32, *device);
      kernels::binary_forward(Binary::add, x, bias, y);
      CHECK(relative_l2(y, expected) <= tolerance(DType::f32));
    }
  }
}

TEST_CASE("add_scaled and scale agree with float64") {
  on_every_device_and_dtype([](Device& device, DType dtype) {
    for (const Shape& shape : {Shape{1}, Shape{7}, Shape{3, 5, 8}, Shape{2051}}) {
      CAPTURE(shape);
      const Tensor a = random_normal(shape, dtype, device, {.seed = 1});
      const Tensor b = random_normal(shape, dtype, device, {.seed = 2});
      const auto as = to_doubles(a), bs = to_doubles(b);
      std::vector<double> sum(as.size()), scaled(as.size());
      for (size_t i = 0; i < as.size(); ++i) {
        sum[i] = 0.5 * as[i] - 1.25 * bs[i];
        scaled[i] = -0.75 * as[i] + 2.5;
      }
      Tensor y = filled_with_nan(shape, dtype, device);
      kernels::add_scaled(a, 0.5, b, -1.25, y);
      CHECK(relative_l2(y, sum) <= tolerance(dtype));
      Tensor in_place = b.clone();
      kernels::add_scaled(a, 0.5, in_place, -1.25, in_place);
      CHECK(to_doubles(in_place) == to_doubles(y));
      kernels::scale(a, -0.75, 2.5, y);
      CHECK(relative_l2(y, scaled) <= tolerance(dtype));
    }
  });
}

TEST_CASE("binary operators take empty tensors and refuse wrong arguments by name") {
  for (const auto& device : test_devices()) {
    const Tensor a = Tensor::zeros({2, 3}, DType::f32, *device), wrong = Tensor::zeros({2}, DType::f32, *device);
    Tensor y = Tensor::zeros({2, 3}, DType::f32, *device), half = Tensor::zeros({2, 3}, DType::f16, *device);
    Tensor none = Tensor::empty({0, 3}, DType::f32, *device);
    kernels::binary_forward(Binary::add, none, Tensor::zeros({3}, DType::f32, *device), none);
    kernels::scale(none, 1, 0, none);
    CHECK(error_of([&] { kernels::binary_forward(Binary::add, a, wrong, y); }) ==
          "binary_forward: b: expected extents equal to those of a [2,3] or 1, got [2]");
    CHECK(error_of([&] { kernels::binary_forward(Binary::add, a, half, y); }) ==
          "binary_forward: b: expected f32, got f16");
    CHECK(error_of([&] {
            kernels::binary_forward(Binary::add, a, a, half);
          }).starts_with("binary_forward: a and y differ"));
    CHECK(error_of([&] { kernels::add_scaled(a, 1, wrong, 1, y); }).starts_with("add_scaled: a and b differ"));
    CHECK(error_of([&] { kernels::scale(a, 1, 0, half); }).starts_with("scale: x and y differ"));
  }
}
