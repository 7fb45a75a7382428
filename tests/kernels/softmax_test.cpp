#include "kernels/softmax.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/cpu/vector_math.h"
#include "tests/kernels/reference_resize.h"
#include "tests/support/tensors.h"

namespace segrt {
namespace {
using namespace test;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// One element; C below, at and above a warp and the CPU's vectors; several dimensions; none.
const Shape kShapes[] = {{1, 1, 1, 1}, {2, 3, 5, 19}, {1, 2, 2, 33}, {1, 1, 3, 257}, {7, 32}, {3, 171}, {16}, {0, 5}};

// f(row of x, row of second input, row of the result) for rows of C values.
template <typename F>
std::vector<double> by_row(const Tensor& x, const std::vector<double>& second, const F& f) {
  const std::vector<double> values = to_doubles(x);
  std::vector<double> result(values.size());
  const auto channels = static_cast<size_t>(x.dim(-1));
  for (size_t i = 0; i < values.size(); i += channels)
    f(values.data() + i, second.empty() ? nullptr : second.data() + i, result.data() + i, channels);
  return result;
}

std::vector<double> reference_softmax(const Tensor& x, bool log) {
  return by_row(x, {}, [&](const double* z, const double*, double* y, size_t n) {
    const double m = *std::max_element(z, z + n);
    double sum = 0;
    for (size_t c = 0; c < n; ++c) sum += std::exp(z[c] - m);
    for (size_t c = 0; c < n; ++c) y[c] = log ? z[c] - m - std::log(sum) : std::exp(z[c] - m) / sum;
  });
}

}  // namespace

TEST_CASE("the vector exponential is within 1.5 units of the last place") {
  using kernels::cpu::exp_lanes;
  using kernels::cpu::kLanes;
  double worst = 0;
  // Every 1009th float of [-87.33, 88], both signs.
  for (uint32_t bits = 0; bits < 0x42b10000u; bits += 1009)
    for (const float sign : {1.0f, -1.0f}) {
      const float x = sign * std::bit_cast<float>(bits);
      if (x > 88.0f || x < -87.33f) continue;
      const double expected = std::exp(static_cast<double>(x));
      const float y = exp_lanes(kernels::cpu::broadcast(x))[kLanes<float> - 1];
      worst = std::max(worst, std::abs(static_cast<double>(y) - expected) / expected);
    }
  MESSAGE("largest relative error in units of 2^-23: " << worst * 0x1p23);
  CHECK(worst <= 1.5 * 0x1p-23);
  const auto exp_of = [](float x) { return exp_lanes(kernels::cpu::broadcast(x))[0]; };
  CHECK(exp_of(0.0f) == 1.0f);
  CHECK(exp_of(-88.0f) == 0.0f);
  CHECK(exp_of(std::numeric_limits<float>::lowest()) == 0.0f);
  CHECK(exp_of(-std::numeric_limits<float>::infinity()) == 0.0f);
  CHECK(std::isnan(exp_of(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("softmax and log-softmax agree with float64 on every device") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Shape& shape : kShapes) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(shape);
        const Tensor x = random_normal(shape, dtype, *device, {.seed = 7, .std = 3});
        const Tensor dy = random_normal(shape, dtype, *device, {.seed = 8});
        const std::vector<double> d = to_doubles(dy);
        Tensor y = filled_with_nan(shape, dtype, *device), dx = filled_with_nan(shape, dtype, *device);
        kernels::softmax_forward(x, y);
        CHECK(relative_l2(y, reference_softmax(x, false)) <= tolerance(dtype, shape[-1]));
        kernels::softmax_backward(y, dy, dx);
        CHECK(relative_l2(dx, by_row(y, d, [](const double* p, const double* g, double* to, size_t n) {
                            double dot = 0;
                            for (size_t c = 0; c < n; ++c) dot += p[c] * g[c];
                            for (size_t c = 0; c < n; ++c) to[c] = p[c] * (g[c] - dot);
                          })) <= tolerance(dtype, shape[-1]));

        y = filled_with_nan(shape, dtype, *device);
        dx = filled_with_nan(shape, dtype, *device);
        kernels::log_softmax_forward(x, y);
        CHECK(relative_l2(y, reference_softmax(x, true)) <= tolerance(dtype, shape[-1]));
        kernels::log_softmax_backward(y, dy, dx);
        CHECK(relative_l2(dx, by_row(y, d, [](const double* l, const double* g, double* to, size_t n) {
                            double sum = 0;
                            for (size_t c = 0; c < n; ++c) sum += g[c];
                            for (size_t c = 0; c < n; ++c) to[c] = g[c] - std::exp(l[c]) * sum;
                          })) <= tolerance(dtype, shape[-1]));

        Tensor in_place = x.clone();
        kernels::softmax_forward(in_place, in_place);
        CHECK(relative_l2(in_place, reference_softmax(x, false)) <= tolerance(dtype, shape[-1]));
      }
}

TEST_CASE("softmax of infinite and large values") {
  for (const auto& device : test_devices()) {
    const std::vector<double> rows = {-kInfinity, 0,          1,            // one class excluded
                                      3e38,       3e38,       -3e38,        // sums that would overflow
                                      -1e30,      -1e30,      -kInfinity,   // far below zero
                                      -kInfinity, -kInfinity, -kInfinity};  // nothing to choose from: no distribution
    const Tensor x = from_doubles({4, 3}, rows, DType::f32, *device);
    Tensor y = Tensor::zeros({4, 3}, DType::f32, *device), log_y = Tensor::zeros({4, 3}, DType::f32, *device);
    kernels::softmax_forward(x, y);
    kernels::log_softmax_forward(x, log_y);
    const std::vector<double> p = to_doubles(y), l = to_doubles(log_y);
    const double e = std::exp(1.0);
    const std::vector<double> expected = {0, 1 / (1 + e), e / (1 + e), 0.5, 0.5, 0, 0.5, 0.5, 0};
    for (size_t i = 0; i < expected.size(); ++i) {
      CAPTURE(i);
      CHECK(std::abs(p[i] - expected[i]) <= 1e-7);
    }
    CHECK(l[0] == -kInfinity);
    CHECK(std::abs(l[3] + std::log(2.0)) <= 1e-6);
    for (size_t i = 9; i < 12; ++i) {
      CHECK(std::isnan(p[i]));
      CHECK(std::isnan(l[i]));
    }
  }
}

TEST_CASE("cross-entropy and negative log-likelihood agree with float64 on every device") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const DType label_dtype : {DType::u8, DType::i32, DType::i64})
        for (const Shape& shape : {Shape{2, 3, 5, 19}, Shape{1, 1, 1, 1}, Shape{5, 171}, Shape{3, 7, 2}, Shape{0, 4}})
          for (const bool weighted : {false, true}) {
            CAPTURE(device->name());
            CAPTURE(dtype);
            CAPTURE(label_dtype);
            CAPTURE(shape);
            CAPTURE(weighted);
            const int64_t classes = shape[-1];
            const Shape positions(shape.dims().first(static_cast<size_t>(shape.rank() - 1)));
            const DType sum = dtype == DType::f64 ? DType::f64 : DType::f32;
            const double ignore = label_dtype == DType::u8 ? 255 : -1;
            const Tensor x = random_normal(shape, dtype, *device, {.std = 2});
            std::vector<double> l = to_doubles(
                random_labels(positions, DType::u8, *device, static_cast<int>(classes), positions.numel() > 3 ? 7 : 0));
            for (double& label : l) label = label == 255 ? ignore : label;
            const Tensor labels = from_doubles(positions, l, label_dtype, *device);
            const Tensor weight = random_uniform({classes}, DType::f32, *device, 0.5, 2);
            const kernels::CrossEntropyOptions options{static_cast<int64_t>(ignore), weighted ? &weight : nullptr};
            const LossReference expected(to_doubles(x), l, classes, ignore,
                                         weighted ? to_doubles(weight) : std::vector<double>());
            const double float_tolerance = tolerance(sum, classes);

            Tensor loss = filled_with_nan(positions, sum, *device), weight_sum = filled_with_nan({1}, sum, *device);
            kernels::cross_entropy_forward(x, labels, options, loss, weight_sum);
            CHECK(max_abs_difference(to_doubles(loss), expected.loss) <= 8 * float_tolerance);  // losses up to 8
            CHECK(std::abs(weight_sum.item() - expected.weight_sum) <= tolerance(sum) * expected.weight_sum);

            const Tensor scale = random_uniform(positions, sum, *device, 0.5, 1.5);
            std::vector<double> gradient = expected.gradient;
            const std::vector<double> s = to_doubles(scale);
            for (size_t i = 0; i < gradient.size(); ++i) gradient[i] *= s[i / static_cast<size_t>(classes)];
            Tensor dx = filled_with_nan(shape, dtype, *device);
            kernels::cross_entropy_backward(x, labels, options, scale, dx);
            if (classes > 1)
              CHECK(relative_l2(dx, gradient) <= tolerance(dtype, classes));
            else
              CHECK(max_abs_difference(to_doubles(dx), gradient) == 0);

            // nll of the log-probabilities, rounded to the dtype before the reference reads them.
            Tensor log_p = Tensor::like(x);
            kernels::log_softmax_forward(x, log_p);
            const std::vector<double> lp = to_doubles(log_p), w = to_doubles(weight);
            std::vector<double> nll(l.size()), dlp(lp.size());
            const double shared_scale = 0.25;
            for (size_t p = 0; p < l.size(); ++p) {
              if (l[p] == ignore) continue;
              const size_t at = p * static_cast<size_t>(classes) + static_cast<size_t>(l[p]);
              const double class_weight = weighted ? w[static_cast<size_t>(l[p])] : 1;
              nll[p] = -class_weight * lp[at];
              dlp[at] = -class_weight * shared_scale;
            }
            loss = filled_with_nan(positions, sum, *device);
            weight_sum = filled_with_nan({1}, sum, *device);
            kernels::nll_forward(log_p, labels, options, loss, weight_sum);
            CHECK(relative_l2(loss, nll) <= tolerance(sum));
            CHECK(std::abs(weight_sum.item() - expected.weight_sum) <= tolerance(sum) * expected.weight_sum);
            dx = filled_with_nan(shape, dtype, *device);
            kernels::nll_backward(log_p, labels, options, from_doubles({1}, {shared_scale}, sum, *device), dx);
            CHECK(relative_l2(dx, dlp) <= tolerance(dtype));
          }
}

TEST_CASE("cross-entropy refuses labels that are no class") {
  for (const auto& device : test_devices())
    for (const double bad : {-2.0, 4.0}) {
      const Tensor x = random_normal({2, 3, 4}, DType::f32, *device);
      const Tensor labels = from_doubles({2, 3}, {0, 1, 2, 3, -1, bad}, DType::i64, *device);
      Tensor loss = Tensor::zeros({2, 3}, DType::f32, *device), weight_sum = Tensor::zeros({1}, DType::f32, *device);
      const auto run = [&] { kernels::cross_entropy_forward(x, labels, {.ignore_index = -1}, loss, weight_sum); };
      const auto run_nll = [&] { kernels::nll_forward(x, labels, {.ignore_index = -1}, loss, weight_sum); };
      if (device->is_cpu()) {
        const std::string expected = "labels: expected a class in [0, 4) or ignore_index -1, got " +
                                     std::to_string(static_cast<int>(bad)) + " at [1,2]";
        CHECK(error_of(run) == "cross_entropy: " + expected);
        CHECK(error_of(run_nll) == "nll: " + expected);
        continue;
      }
      run();
      CHECK(std::isnan(to_doubles(loss)[5]));
      CHECK(!std::isnan(to_doubles(loss)[3]));
      CHECK(std::isnan(weight_sum.item()));
      run_nll();
      CHECK(std::isnan(to_doubles(loss)[5]));
      CHECK(std::isnan(weight_sum.item()));
    }
}

TEST_CASE("softmax and cross-entropy name what is wrong") {
  const auto device = Device::create("cpu");
  const Tensor x = random_normal({2, 3}, DType::f32, *device);
  Tensor y = Tensor::zeros({2, 4}, DType::f32, *device), loss = Tensor::zeros({2}, DType::f32, *device),
         sum = Tensor::zeros({1}, DType::f32, *device);
  CHECK(error_of([&] { kernels::softmax_forward(x, y); }).find("softmax: x and y differ") == 0);
  const Tensor labels = Tensor::zeros({3}, DType::u8, *device), floats = Tensor::zeros({2}, DType::f32, *device);
  CHECK(error_of([&] { kernels::cross_entropy_forward(x, labels, {}, loss, sum); }) ==
        "cross_entropy: labels: expected [2], got [3]");
  CHECK(error_of([&] { kernels::cross_entropy_forward(x, floats, {}, loss, sum); }) ==
        "cross_entropy: labels: expected u8 or i32 or i64, got f32");
}

}  // namespace segrt
