#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "kernels/cpu/branch_free_math.h"
#include "kernels/elementwise.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::test;
using kernels::Unary;

namespace {

// The definitions, in float64, and where to test them: kinks are kept away from differences.
struct Case {
  const char* name;
  Unary op;
  double (*f)(double x, double alpha, double beta);
  kernels::UnaryParams params = {};
  double low = -5, high = 5;
  std::vector<double> kinks = {};
};
constexpr double kPi = 3.14159265358979323846;
double gelu_tanh(double x) {
  const long double u = std::sqrt(2 / kPi) * (x + 0.044715 * x * x * x);
  return static_cast<double>(x * (1 + std::tanh(u)) / 2);  // long double: the sum cancels for negative x
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"relu", Unary::relu, [](double x, double, double) { return std::max(x, 0.0); }, {}, -5, 5, {0}},
      {"sigmoid", Unary::sigmoid, [](double x, double, double) { return 1 / (1 + std::exp(-x)); }, {}, -20, 20},
      {"tanh", Unary::tanh, [](double x, double, double) { return std::tanh(x); }},
      {"gelu", Unary::gelu, [](double x, double, double) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }},
      {"gelu_tanh", Unary::gelu_tanh, [](double x, double, double) { return gelu_tanh(x); }},
      {"silu", Unary::silu, [](double x, double, double) { return x / (1 + std::exp(-x)); }},
      {"exp", Unary::exp, [](double x, double, double) { return std::exp(x); }},
      {"log", Unary::log, [](double x, double, double) { return std::log(x); }, {}, 0.25, 50},
      {"sqrt", Unary::sqrt, [](double x, double, double) { return std::sqrt(x); }, {}, 0.25, 50},
      {"square", Unary::square, [](double x, double, double) { return x * x; }},
      {"abs", Unary::abs, [](double x, double, double) { return std::abs(x); }, {}, -5, 5, {0}},
      {"neg", Unary::neg, [](double x, double, double) { return -x; }},
      {"erf", Unary::erf, [](double x, double, double) { return std::erf(x); }},
      {"leaky_relu",
       Unary::leaky_relu,
       [](double x, double a, double) { return x > 0 ? x : a * x; },
       {.alpha = 0.25},
       -5,
       5,
       {0}},
      {"hard_sigmoid",
       Unary::hard_sigmoid,
       [](double x, double a, double b) { return std::max(0.0, std::min(1.0, a * x + b)); },
       {.alpha = 0.25, .beta = 0.5},
       -5,
       5,
       {-2, 2}},
      {"selu",
       Unary::selu,
       [](double x, double a, double g) { return g * (x > 0 ? x : a * std::expm1(x)); },
       {.alpha = 1.6732632423543772, .beta = 1.0507009873554805},
       -5,
       5,
       {0}},
      {"clip",
       Unary::clip,
       [](double x, double a, double b) { return std::max(a, std::min(b, x)); },
       {.alpha = -1.5, .beta = 2.5},
       -5,
       5,
       {-1.5, 2.5}},
  };
  return all;
}

std::vector<double> values_of(const Case& c, const std::vector<double>& x) {
  std::vector<double> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = c.f(x[i], c.params.alpha, c.params.beta);
  return y;
}

// Moves values that lie within 0.05 of a kink away from it.
Tensor without_kinks(const Case& c, const Tensor& x) {
  std::vector<double> values = to_doubles(x);
  for (double& v : values)
    for (const double kink : c.kinks)
      if (std::abs(v - kink) < 0.05) v = kink + 0.25;
  return from_doubles(x.shape(), values, x.dtype(), x.device());
}

// Lengths: one, less than a vector, one past a chunk, more than a block's threads take in one step.
const std::vector<Shape> kShapes = {{1}, {3}, {2, 4}, {5, 205}, {3, 7, 131, 3}};
}  // namespace

TEST_CASE("unary operators agree with float64 on every device and dtype") {
  for (const auto& device : test_devices())
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64})
      for (const Case& c : cases())
        for (const Shape& shape : kShapes) {
          if (dtype == DType::f64 && device->is_cuda()) continue;
          CAPTURE(device->name());
          CAPTURE(dtype);
          CAPTURE(std::string(c.name));
          CAPTURE(shape);
          const Tensor x = random_uniform(shape, dtype, *device, c.low, c.high, 11);
          Tensor y = filled_with_nan(shape, dtype, *device);
          kernels::unary_forward(c.op, x, y, c.params);
          // An exponential multiplies the rounding of its argument by the argument: 8 to 12 in GELU's lower tail.
          const bool tail = c.op == Unary::gelu || c.op == Unary::gelu_tanh;
          CHECK(relative_l2(y, values_of(c, to_doubles(x))) <= tolerance(dtype, tail ? 9 : 1));
          Tensor in_place = x.clone();
          kernels::unary_forward(c.op, in_place, in_place, c.params);
          CHECK(to_doubles(in_place) == to_doubles(y));
        }
}

TEST_CASE("unary gradients agree with central differences in float64") {
  for (const auto& device : test_devices())
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64})
      for (const Case& c : cases())
        for (const Shape& shape : {Shape{3}, Shape{5, 205}}) {
          if (dtype == DType::f64 && device->is_cuda()) continue;
          CAPTURE(device->name());
          CAPTURE(dtype);
          CAPTURE(std::string(c.name));
          CAPTURE(shape);
          // A sigmoid's gradient from a rounded y loses its digits where y rounds to 1: keep away.
          const Tensor x =
              without_kinks(c, random_uniform(shape, dtype, *device, std::max(c.low, -2.0), std::min(c.high, 3.0), 12));
          const Tensor dy = random_normal(shape, dtype, *device, {.seed = 13});
          const auto xs = to_doubles(x), dys = to_doubles(dy);
          Tensor y = Tensor::like(x), dx = filled_with_nan(shape, dtype, *device);
          kernels::unary_forward(c.op, x, y, c.params);
          std::vector<double> expected(xs.size());
          for (size_t i = 0; i < xs.size(); ++i) {
            constexpr double kStep = 1e-5;
            const double above = c.f(xs[i] + kStep, c.params.alpha, c.params.beta);
            const double below = c.f(xs[i] - kStep, c.params.alpha, c.params.beta);
            expected[i] = (above - below) / (2 * kStep) * dys[i];
          }
          const bool uses_y =
              c.op == Unary::relu || c.op == Unary::sigmoid || c.op == Unary::tanh || c.op == Unary::exp;
          kernels::unary_backward(c.op, uses_y ? Tensor() : x, uses_y ? y : Tensor(), dy, dx, c.params);
          // The differences themselves are good to 1e-9. 1 - y^2 and y (1 - y) magnify the rounding of y.
          const double magnified = uses_y && (dtype == DType::bf16 || dtype == DType::f16) ? 8 : 1;
          CHECK(relative_l2(dx, expected) <= std::max(magnified * tolerance(dtype, 4), 1e-9));
          Tensor in_place = dy.clone();
          kernels::unary_backward(c.op, x, y, in_place, in_place, c.params);
          CHECK(to_doubles(in_place) == to_doubles(dx));
        }
}

TEST_CASE("unary operators pass NaN on and keep closed gates closed") {
  constexpr double kInf = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    for (const Case& c : cases()) {
      CAPTURE(std::string(c.name));
      Tensor y = from_doubles({1}, {7}, DType::f32, *device);
      kernels::unary_forward(c.op, from_doubles({1}, {kNan}, DType::f32, *device), y, c.params);
      CHECK(std::isnan(y.item()));
    }
    Tensor dx = filled_with_nan({2}, DType::f32, *device);
    const Tensor y = from_doubles({2}, {0, 2}, DType::f32, *device);
    const Tensor dy = from_doubles({2}, {kInf, 3}, DType::f32, *device);
    kernels::unary_backward(Unary::relu, Tensor(), y, dy, dx);
    CHECK(to_doubles(dx) == std::vector<double>{0, 3});
  }
}

TEST_CASE("branch-free functions are within a few units of float's last place") {
  using Math = kernels::cpu::BranchFreeMath;
  struct Function {
    const char* name;
    float (*f)(float);
    double (*exact)(double);
    float low, high;
    double bound;  // relative
  };
  constexpr double kUnit = 0x1p-24;
  const Function functions[] = {
      {"exp", [](float x) { return Math::exp(x); }, [](double x) { return std::exp(x); }, -87, 88, 3 * kUnit},
      {"expm1", [](float x) { return Math::expm1(x); }, [](double x) { return std::expm1(x); }, -40, 87, 6 * kUnit},
      {"tanh", [](float x) { return Math::tanh(x); }, [](double x) { return std::tanh(x); }, -30, 30, 8 * kUnit},
      {"erf", [](float x) { return Math::erf(x); }, [](double x) { return std::erf(x); }, -10, 10, 6 * kUnit},
      // x^2 is rounded before its exponential: the error grows to 2 x^2 units.
      {"erfc", [](float x) { return Math::erfc(x); }, [](double x) { return std::erfc(x); }, -10, 3, 24 * kUnit},
  };
  for (const Function& function : functions) {
    CAPTURE(std::string(function.name));
    double worst = 0;
    // Every 1009th float of each sign, by bit pattern: all magnitudes.
    for (const uint32_t sign : {0u, 0x80000000u})
      for (uint32_t bits = 0x00800000u; bits < 0x7f800000u; bits += 1009) {
        float x;
        const uint32_t word = bits | sign;
        std::memcpy(&x, &word, sizeof(x));
        if (x < function.low || x > function.high) continue;
        const double exact = function.exact(static_cast<double>(x));
        worst = std::max(worst, std::abs(static_cast<double>(function.f(x)) - exact) / std::abs(exact));
      }
    CHECK(worst <= function.bound);
  }
  constexpr float kInf = std::numeric_limits<float>::infinity();
  CHECK(Math::exp(kInf) == kInf);
  CHECK(Math::exp(-kInf) == 0.0f);
  CHECK(Math::exp(100.0f) == kInf);
  CHECK(Math::exp(-100.0f) == doctest::Approx(3.72e-44).epsilon(0.02));  // subnormal
  CHECK(Math::tanh(kInf) == 1.0f);
  CHECK(Math::tanh(-kInf) == -1.0f);
  CHECK(Math::erf(kInf) == 1.0f);
  CHECK(Math::erfc(kInf) == 0.0f);
}

TEST_CASE("unary operators take empty tensors and refuse wrong arguments by name") {
  for (const auto& device : test_devices()) {
    Tensor x = Tensor::zeros({2, 3}, DType::f32, *device), y = Tensor::zeros({3, 2}, DType::f32, *device);
    Tensor labels = Tensor::zeros({2}, DType::i32, *device), none = Tensor::empty({0, 3}, DType::f32, *device);
    kernels::unary_forward(Unary::exp, none, none);
    CHECK(error_of([&] { kernels::unary_forward(Unary::relu, x, y); }).starts_with("unary_forward: x and y differ"));
    CHECK(error_of([&] {
            kernels::unary_forward(Unary::relu, labels, labels);
          }).starts_with("unary_forward: x: expected f32, bf16 or f16"));
    CHECK(error_of([&] { kernels::unary_backward(Unary::relu, x, Tensor(), x, x); }) ==
          "unary_backward: y: expected a tensor, got an undefined one");
    CHECK(error_of([&] { kernels::unary_backward(Unary::gelu, Tensor(), x, x, x); }) ==
          "unary_backward: x: expected a tensor, got an undefined one");
  }
}
