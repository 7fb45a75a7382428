#include "kernels/linear.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/support/tensors.h"

namespace segrt::test {
namespace {
using kernels::LinearActivation;

struct Sizes {
  int64_t rows, in, out;
};
const Sizes kSizes[] = {{1, 1, 1}, {5, 7, 3}, {129, 33, 65}, {64, 96, 40}, {3, 64, 128}, {130, 40, 64}};

double phi(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }
double gelu(double z) { return z * phi(z); }
double gelu_slope(double z) { return phi(z) + z * std::exp(-z * z / 2) / std::sqrt(2 * std::acos(-1.0)); }

double activated(LinearActivation activation, double z) {
  if (activation == LinearActivation::relu) return z > 0 ? z : 0;
  return activation == LinearActivation::gelu ? gelu(z) : z;
}

// z[r,c] = sum_d a(r,d) b(c,d).
template <typename A, typename B>
std::vector<double> products(int64_t rows, int64_t columns, int64_t depth, const A& a, const B& b) {
  std::vector<double> z(static_cast<size_t>(rows * columns));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      for (int64_t d = 0; d < depth; ++d) z[static_cast<size_t>(r * columns + c)] += a(r, d) * b(c, d);
  return z;
}

auto element_of(const std::vector<double>& values, int64_t columns) {
  return [&values, columns](int64_t r, int64_t c) { return values[static_cast<size_t>(r * columns + c)]; };
}
auto transposed_of(const std::vector<double>& values, int64_t columns) {
  return [&values, columns](int64_t r, int64_t c) { return values[static_cast<size_t>(c * columns + r)]; };
}

DType vector_dtype(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

template <typename F>
void for_all(const F& f) {
  for (auto& device : test_devices())
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
      if (dtype == DType::f64 && !device->is_cpu()) continue;
      for (const Sizes& s : kSizes) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(s.rows);
        CAPTURE(s.in);
        CAPTURE(s.out);
        f(*device, dtype, s);
      }
    }
}
}  // namespace

TEST_CASE("linear: every activation, with and without bias and kept input, against float64") {
  for_all([](Device& device, DType dtype, const Sizes& s) {
    const Tensor x = random_normal({s.rows, s.in}, dtype, device, {.seed = 1});
    const Tensor w = random_normal({s.out, s.in}, dtype, device, {.seed = 2, .std = 1 / std::sqrt(s.in)});
    const Tensor bias = random_normal({s.out}, vector_dtype(dtype), device, {.seed = 3});
    const auto xv = to_doubles(x), wv = to_doubles(w), bv = to_doubles(bias);
    const auto plain = products(s.rows, s.out, s.in, element_of(xv, s.in), element_of(wv, s.in));
    for (const auto activation : {LinearActivation::none, LinearActivation::relu, LinearActivation::gelu})
      for (const bool with_bias : {false, true})
        for (const bool with_pre : {false, true}) {
          CAPTURE(static_cast<int>(activation));
          CAPTURE(with_bias);
          CAPTURE(with_pre);
          std::vector<double> z = plain, y = plain;
          for (size_t i = 0; i < z.size(); ++i) {
            if (with_bias) z[i] += bv[i % static_cast<size_t>(s.out)];
            y[i] = activated(activation, z[i]);
          }
          Tensor got = filled_with_nan({s.rows, s.out}, dtype, device),
                 pre = filled_with_nan({s.rows, s.out}, dtype, device);
          kernels::linear_forward(
              x, w, {.bias = with_bias ? &bias : nullptr, .activation = activation, .pre = with_pre ? &pre : nullptr},
              got);
          CHECK(relative_l2(got, y) <= 2 * tolerance(dtype, s.in));  // y and what it is taken of are both rounded
          if (with_pre) CHECK(relative_l2(pre, z) <= tolerance(dtype, s.in));
        }
  });
}

TEST_CASE("linear: GELU is exact, not its tanh approximation") {
  for (auto& device : test_devices()) {
    CAPTURE(device->name());
    // The two differ most near |z| = 2.3, by about 4.7e-4.
    const Tensor x = from_doubles({2, 1}, {2.3, -2.3}, DType::f32, *device),
                 w = from_doubles({1, 1}, {1}, DType::f32, *device);
    Tensor y = Tensor::like(x);
    kernels::linear_forward(x, w, {.activation = LinearActivation::gelu}, y);
    CHECK(max_abs_difference(to_doubles(y), {gelu(2.3), gelu(-2.3)}) < 1e-6);
  }
}

TEST_CASE("linear: the input gradient, also through a GELU") {
  for_all([](Device& device, DType dtype, const Sizes& s) {
    const Tensor dy = random_normal({s.rows, s.out}, dtype, device, {.seed = 1});
    const Tensor w = random_normal({s.out, s.in}, dtype, device, {.seed = 2, .std = 1 / std::sqrt(s.out)});
    const Tensor pre = random_normal({s.rows, s.in}, dtype, device, {.seed = 3});
    const auto dyv = to_doubles(dy), wv = to_doubles(w), prev = to_doubles(pre);
    std::vector<double> expected = products(s.rows, s.in, s.out, element_of(dyv, s.out), transposed_of(wv, s.in));
    Tensor dx = filled_with_nan({s.rows, s.in}, dtype, device);
    kernels::linear_backward_input(dy, w, nullptr, dx);
    CHECK(relative_l2(dx, expected) <= tolerance(dtype, s.out));
    for (size_t i = 0; i < expected.size(); ++i) expected[i] *= gelu_slope(prev[i]);
    dx = filled_with_nan({s.rows, s.in}, dtype, device);
    kernels::linear_backward_input(dy, w, &pre, dx);
    CHECK(relative_l2(dx, expected) <= 2 * tolerance(dtype, s.out));
  });
}

TEST_CASE("linear: the gradients of weight and bias") {
  for_all([](Device& device, DType dtype, const Sizes& s) {
    const Tensor x = random_normal({s.rows, s.in}, dtype, device, {.seed = 1});
    const Tensor dy = random_normal({s.rows, s.out}, dtype, device, {.seed = 2});
    const auto xv = to_doubles(x), dyv = to_doubles(dy);
    const auto expected = products(s.out, s.in, s.rows, transposed_of(dyv, s.out), transposed_of(xv, s.in));
    std::vector<double> sums(static_cast<size_t>(s.out));
    for (size_t i = 0; i < dyv.size(); ++i) sums[i % sums.size()] += dyv[i];
    Tensor dw = filled_with_nan({s.out, s.in}, dtype, device);
    Tensor db = filled_with_nan({s.out}, vector_dtype(dtype), device);
    kernels::linear_backward_weight(x, dy, dw, &db);
    CHECK(relative_l2(dw, expected) <= tolerance(dtype, s.rows));
    CHECK(relative_l2(db, sums) <= tolerance(dtype, s.rows));
    dw = filled_with_nan({s.out, s.in}, dtype, device);
    kernels::linear_backward_weight(x, dy, dw, nullptr);
    CHECK(relative_l2(dw, expected) <= tolerance(dtype, s.rows));
  });
}

TEST_CASE("linear: sums of nothing") {
  for (auto& device : test_devices()) {
    CAPTURE(device->name());
    const Tensor x = Tensor::empty({2, 0}, DType::f32, *device), w = Tensor::empty({3, 0}, DType::f32, *device);
    const Tensor bias = from_doubles({3}, {1, -2, 0}, DType::f32, *device);
    Tensor y = filled_with_nan({2, 3}, DType::f32, *device);
    kernels::linear_forward(x, w, {.bias = &bias, .activation = LinearActivation::relu}, y);
    CHECK(to_doubles(y) == std::vector<double>{1, 0, 0, 1, 0, 0});
    Tensor dw = filled_with_nan({3, 4}, DType::f32, *device), db = filled_with_nan({3}, DType::f32, *device);
    kernels::linear_backward_weight(Tensor::empty({0, 4}, DType::f32, *device),
                                    Tensor::empty({0, 3}, DType::f32, *device), dw, &db);
    CHECK(to_doubles(dw) == std::vector<double>(12, 0.0));
    CHECK(to_doubles(db) == std::vector<double>(3, 0.0));
  }
}

TEST_CASE("linear refuses what does not fit and says why") {
  auto device = Device::create("cpu");
  const auto zeros = [&](const Shape& shape, DType dtype = DType::f32) { return Tensor::zeros(shape, dtype, *device); };
  Tensor y = zeros({2, 3}), pre = zeros({3, 2}), dw = zeros({3, 4}), db = zeros({4});
  const Tensor x = zeros({2, 4}), w = zeros({3, 4}), bias = zeros({2});
  const auto forward = [&](const Tensor& wrong_x, const Tensor& wrong_w, const kernels::LinearEpilogue& e) {
    return error_of([&] { kernels::linear_forward(wrong_x, wrong_w, e, y); });
  };
  CHECK(forward(zeros({2, 5}), w, {}) == "linear: w: expected [3,5], got [3,4]");
  CHECK(forward(x, zeros({4, 4}), {}) == "linear: y: expected [2,4], got [2,3]");
  CHECK(forward(x, zeros({3, 4}, DType::bf16), {}) == "linear: w: expected f32, got bf16");
  CHECK(forward(x, w, {.bias = &bias}) == "linear: bias: expected [3], got [2]");
  CHECK(forward(x, w, {.pre = &pre}).starts_with("linear: y and pre differ: y is "));
  CHECK(error_of([&] { kernels::linear_backward_input(y, w, &pre, dw); }) ==
        "linear_backward_input: dx: expected [2,4], got [3,4]");
  CHECK(error_of([&] { kernels::linear_backward_weight(x, y, dw, &db); }) ==
        "linear_backward_weight: db: expected [3], got [4]");
}

}  // namespace segrt::test
