#include "kernels/norm.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/parallel.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::test;

namespace {

// One position, one channel, channels that fill no vector, several chunks of positions, several tiles of channels.
const std::vector<Shape> kShapes = {{1, 1, 1, 1},    {2, 3, 5, 19}, {3, 1, 1, 64}, {1, 40, 41, 3},
                                    {1, 33, 40, 16}, {300, 24},     {2, 7, 264},   {1, 1, 2, 2048}};

struct Moments {
  std::vector<double> mean, var;
};
Moments moments_of(const std::vector<double>& x, size_t channels) {
  Moments m{std::vector<double>(channels), std::vector<double>(channels)};
  const double positions = static_cast<double>(x.size() / channels);
  for (size_t i = 0; i < x.size(); ++i) m.mean[i % channels] += x[i] / positions;
  for (size_t i = 0; i < x.size(); ++i) {
    const double d = x[i] - m.mean[i % channels];
    m.var[i % channels] += d * d / positions;
  }
  return m;
}

// Everything that one layer needs, on a device, with float64 copies.
struct Layer {
  Layer(const Shape& shape, DType dtype, Device& device) {
    const DType p = dtype == DType::f64 ? DType::f64 : DType::f32;
    const Shape c{shape[-1]};
    x = random_normal(shape, dtype, device, {.seed = 1, .mean = 0.5, .std = 2});
    dy = random_normal(shape, dtype, device, {.seed = 2});
    residual = random_normal(shape, dtype, device, {.seed = 3});
    mean = random_normal(c, p, device, {.seed = 4, .mean = 0.5});
    var = random_uniform(c, p, device, 0.2, 3, 5);
    weight = random_normal(c, p, device, {.seed = 6});
    bias = random_normal(c, p, device, {.seed = 7});
  }
  kernels::BatchNormParams params() const { return {mean, var, weight, bias, 1e-3}; }

  Tensor x, dy, residual, mean, var, weight, bias;
};

std::vector<double> apply_reference(const Layer& l, bool residual, bool relu) {
  const auto x = to_doubles(l.x), r = to_doubles(l.residual), mean = to_doubles(l.mean), var = to_doubles(l.var);
  const auto weight = to_doubles(l.weight), bias = to_doubles(l.bias);
  std::vector<double> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t c = i % mean.size();
    y[i] = (x[i] - mean[c]) / std::sqrt(var[c] + 1e-3) * weight[c] + bias[c] + (residual ? r[i] : 0);
    if (relu) y[i] = std::max(y[i], 0.0);
  }
  return y;
}

struct Gradients {
  std::vector<double> g, sum_dy, sum_dy_xhat, dx;
};
// The derivative with sums over the tensor itself; frozen: statistics are constants.
Gradients backward_reference(const Layer& l, const Tensor* y, bool frozen) {
  const auto x = to_doubles(l.x), dy = to_doubles(l.dy), mean = to_doubles(l.mean), var = to_doubles(l.var);
  const auto weight = to_doubles(l.weight), mask = y != nullptr ? to_doubles(*y) : std::vector<double>(x.size(), 1.0);
  const size_t channels = mean.size();
  const double count = static_cast<double>(x.size() / channels);
  Gradients r{dy, std::vector<double>(channels), std::vector<double>(channels), dy};
  const auto xhat = [&](size_t i) { return (x[i] - mean[i % channels]) / std::sqrt(var[i % channels] + 1e-3); };
  for (size_t i = 0; i < x.size(); ++i) {
    if (!(mask[i] > 0)) r.g[i] = 0;
    r.sum_dy[i % channels] += r.g[i];
    r.sum_dy_xhat[i % channels] += r.g[i] * xhat(i);
  }
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t c = i % channels;
    const double centered = frozen ? r.g[i] : r.g[i] - r.sum_dy[c] / count - xhat(i) * r.sum_dy_xhat[c] / count;
    r.dx[i] = weight[c] / std::sqrt(var[c] + 1e-3) * centered;
  }
  return r;
}

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
DType params_of(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }
}  // namespace

TEST_CASE("batch norm statistics agree with float64") {
  on_every_device_and_dtype([](Device& device, DType dtype) {
    for (const Shape& shape : kShapes)
      for (const double mean_value : {0.5, 1000.0}) {
        CAPTURE(shape);
        CAPTURE(mean_value);
        const Tensor x = random_normal(shape, dtype, device, {.seed = 5, .mean = mean_value, .std = 1});
        const Shape c{shape[-1]};
        Tensor mean = filled_with_nan(c, params_of(dtype), device), var = filled_with_nan(c, params_of(dtype), device);
        kernels::batch_norm_statistics(x, mean, var);
        const Moments expected = moments_of(to_doubles(x), static_cast<size_t>(shape[-1]));
        const int64_t positions = x.numel() / shape[-1];
        CHECK(relative_l2(mean, expected.mean) <= tolerance(params_of(dtype), positions));
        CHECK(relative_l2(var, expected.var) <= tolerance(params_of(dtype), positions));
      }
  });
}

TEST_CASE("batch norm statistics survive a border of zeros before data far from zero") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const Shape shape{4000, 16};
    std::vector<double> values = to_doubles(random_normal(shape, DType::f32, *device, {.seed = 1, .mean = 1000}));
    std::fill(values.begin(), values.begin() + 16 * 3, 0.0);
    const Tensor x = from_doubles(shape, values, DType::f32, *device);
    Tensor mean = filled_with_nan({16}, DType::f32, *device), var = filled_with_nan({16}, DType::f32, *device);
    kernels::batch_norm_statistics(x, mean, var);
    const Moments expected = moments_of(to_doubles(x), 16);
    CHECK(relative_l2(mean, expected.mean) <= tolerance(DType::f32));
    CHECK(relative_l2(var, expected.var) <= tolerance(DType::f32, 4000));
  }
}

TEST_CASE("batch norm takes tensors that no vector access may touch") {
  on_every_device_and_dtype([](Device& device, DType dtype) {
    const Shape shape{37, 16};
    const Tensor flat = random_normal({37 * 16 + 1}, dtype, device, {.seed = 8, .mean = 3});
    const Tensor x = flat.slice(1, 37 * 16).reshape(shape);  // one element past alignment
    Layer l(shape, dtype, device);
    l.x = x;
    Tensor mean = filled_with_nan({16}, params_of(dtype), device), var = Tensor::like(mean);
    kernels::batch_norm_statistics(x, mean, var);
    CHECK(relative_l2(var, moments_of(to_doubles(x), 16).var) <= tolerance(params_of(dtype), 37));
    Tensor y = filled_with_nan(shape, dtype, device);
    kernels::batch_norm_apply(x, l.params(), nullptr, true, y);
    CHECK(relative_l2(y, apply_reference(l, false, true)) <= tolerance(dtype));
  });
}

TEST_CASE("batch norm results do not depend on the number of threads") {
  const auto device = Device::create("cpu");
  const Layer l({2, 61, 43, 24}, DType::f32, *device);
  std::vector<std::vector<double>> results;
  for (const int count : {1, 2, 3}) {
    set_threads(count);
    Tensor a = Tensor::like(l.mean), b = Tensor::like(l.mean), c = Tensor::like(l.mean), d = Tensor::like(l.mean);
    kernels::batch_norm_statistics(l.x, a, b);
    kernels::batch_norm_backward_reduce(l.dy, l.x, nullptr, l.params(), c, d);
    std::vector<double> all;
    for (const Tensor& t : {a, b, c, d})
      for (const double v : to_doubles(t)) all.push_back(v);
    results.push_back(all);
  }
  set_threads(0);
  CHECK(results[1] == results[0]);
  CHECK(results[2] == results[0]);
}

TEST_CASE("batch norm apply agrees with float64, with and without residual, ReLU and in place") {
  on_every_device_and_dtype([](Device& device, DType dtype) {
    for (const Shape& shape : kShapes) {
      CAPTURE(shape);
      const Layer l(shape, dtype, device);
      for (const bool residual : {false, true})
        for (const bool relu : {false, true}) {
          CAPTURE(residual);
          CAPTURE(relu);
          const std::vector<double> expected = apply_reference(l, residual, relu);
          Tensor y = filled_with_nan(shape, dtype, device);
          kernels::batch_norm_apply(l.x, l.params(), residual ? &l.residual : nullptr, relu, y);
          CHECK(relative_l2(y, expected) <= tolerance(dtype));
          Tensor in_place = l.x.clone();
          kernels::batch_norm_apply(in_place, l.params(), residual ? &l.residual : nullptr, relu, in_place);
          CHECK(to_doubles(in_place) == to_doubles(y));
          Tensor over_residual = l.residual.clone();
          kernels::batch_norm_apply(l.x, l.params(), residual ? &over_residual : nullptr, relu, over_residual);
          CHECK(to_doubles(over_residual) == to_doubles(y));
        }
    }
  });
}

TEST_CASE("batch norm backward agrees with float64, with and without ReLU, in training and frozen") {
  on_every_device_and_dtype([](Device& device, DType dtype) {
    for (const Shape& shape : kShapes)
      for (const bool relu : {false, true}) {
        CAPTURE(shape);
        CAPTURE(relu);
        const Layer l(shape, dtype, device);
        const int64_t positions = l.x.numel() / shape[-1];
        Tensor y = filled_with_nan(shape, dtype, device);
        kernels::batch_norm_apply(l.x, l.params(), nullptr, relu, y);
        const Tensor* mask = relu ? &y : nullptr;
        const Gradients expected = backward_reference(l, mask, false);
        Tensor sum_dy = filled_with_nan(l.mean.shape(), l.mean.dtype(), device), sum_dy_xhat = sum_dy.clone();
        kernels::batch_norm_backward_reduce(l.dy, l.x, mask, l.params(), sum_dy, sum_dy_xhat);
        CHECK(relative_l2(sum_dy, expected.sum_dy) <= tolerance(params_of(dtype), positions));
        CHECK(relative_l2(sum_dy_xhat, expected.sum_dy_xhat) <= tolerance(params_of(dtype), positions));

        Tensor dx = filled_with_nan(shape, dtype, device), dresidual = filled_with_nan(shape, dtype, device);
        kernels::batch_norm_backward_apply(l.dy, l.x, mask, l.params(), &sum_dy, &sum_dy_xhat, positions, dx,
                                           &dresidual);
        CHECK(relative_l2(dx, expected.dx) <= tolerance(dtype, 3));  // three terms
        CHECK(to_doubles(dresidual) == expected.g);

        Tensor dy = l.dy.clone(), dx_again = filled_with_nan(shape, dtype, device);
        kernels::batch_norm_backward_apply(dy, l.x, mask, l.params(), &sum_dy, &sum_dy_xhat, positions, dx_again, &dy);
        CHECK(to_doubles(dx_again) == to_doubles(dx));
        CHECK(to_doubles(dy) == expected.g);
        dy = l.dy.clone();
        kernels::batch_norm_backward_apply(dy, l.x, mask, l.params(), &sum_dy, &sum_dy_xhat, positions, dy, nullptr);
        CHECK(to_doubles(dy) == to_doubles(dx));

        kernels::batch_norm_backward_apply(l.dy, l.x, mask, l.params(), nullptr, nullptr, 0, dx, nullptr);
        CHECK(relative_l2(dx, backward_reference(l, mask, true).dx) <= tolerance(dtype));
      }
  });
}

// The whole layer: L = sum of dy * y, statistics included, by central differences.
TEST_CASE("batch norm backward is the derivative of the forward pass") {
  const auto device = Device::create("cpu");
  Layer l({2, 3, 4, 5}, DType::f64, *device);
  const auto loss = [&](const std::vector<double>& x_values) {
    Layer moved = l;
    moved.x = from_doubles(l.x.shape(), x_values, DType::f64, *device);
    moved.mean = Tensor::like(l.mean);
    moved.var = Tensor::like(l.var);
    kernels::batch_norm_statistics(moved.x, moved.mean, moved.var);
    Tensor y = Tensor::like(l.x);
    kernels::batch_norm_apply(moved.x, moved.params(), &l.residual, true, y);
    const auto dy = to_doubles(l.dy), values = to_doubles(y);
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += dy[i] * values[i];
    return sum;
  };
  kernels::batch_norm_statistics(l.x, l.mean, l.var);
  Tensor y = Tensor::like(l.x), sum_dy = Tensor::like(l.mean), sum_dy_xhat = Tensor::like(l.mean);
  Tensor dx = Tensor::like(l.x);
  kernels::batch_norm_apply(l.x, l.params(), &l.residual, true, y);
  kernels::batch_norm_backward_reduce(l.dy, l.x, &y, l.params(), sum_dy, sum_dy_xhat);
  kernels::batch_norm_backward_apply(l.dy, l.x, &y, l.params(), &sum_dy, &sum_dy_xhat, 24, dx, nullptr);
  std::vector<double> numeric(static_cast<size_t>(l.x.numel()));
  for (size_t i = 0; i < numeric.size(); ++i) {
    std::vector<double> x = to_doubles(l.x);
    constexpr double kStep = 1e-6;
    x[i] += kStep;
    const double above = loss(x);
    x[i] -= 2 * kStep;
    numeric[i] = (above - loss(x)) / (2 * kStep);
  }
  CHECK(relative_l2(dx, numeric) <= 1e-7);
}

TEST_CASE("batch norm running statistics move by momentum, with the unbiased variance") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const Tensor mean = from_doubles({3}, {1, -2, 4}, DType::f32, *device);
    const Tensor var = from_doubles({3}, {1, 2, 3}, DType::f32, *device);
    Tensor running_mean = from_doubles({3}, {0, 0, 8}, DType::f32, *device);
    Tensor running_var = from_doubles({3}, {1, 1, 1}, DType::f32, *device);
    const uint64_t version = running_mean.version(), var_version = running_var.version();
    kernels::batch_norm_update_running(mean, var, 5, 0.25, running_mean, running_var);
    CHECK(max_abs_difference(to_doubles(running_mean), {0.25, -0.5, 7}) == 0);
    CHECK(max_abs_difference(to_doubles(running_var), {1.0625, 1.375, 1.6875}) == 0);
    CHECK(running_mean.version() > version);
    CHECK(running_var.version() > var_version);
    kernels::batch_norm_update_running(mean, var, 1, 1.0, running_mean, running_var);  // one sample: biased
    CHECK(to_doubles(running_var) == to_doubles(var));

    // A channel that has overflowed keeps what it has.
    const Tensor bad_mean = from_doubles({3}, {INFINITY, 1, NAN}, DType::f32, *device);
    const Tensor bad_var = from_doubles({3}, {1, INFINITY, 1}, DType::f32, *device);
    const std::vector<double> mean_before = to_doubles(running_mean);
    kernels::batch_norm_update_running(bad_mean, bad_var, 5, 0.25, running_mean, running_var);
    CHECK(to_doubles(running_mean) == mean_before);
    CHECK(to_doubles(running_var) == to_doubles(var));
  }
}

TEST_CASE("batch norm statistics from sums agree with float64, and a variance is never negative") {
  for (auto& device : test_devices())
    for (const DType dtype : {DType::f32, DType::f64}) {
      if (dtype == DType::f64 && !device->is_cpu()) continue;
      CAPTURE(device->name());
      CAPTURE(dtype);
      // 4 samples a channel: {1, 2, 3, 6}, zeros, and twice 1e4 whose sum of squares has been rounded down.
      const Tensor sum = from_doubles({3}, {12, 0, 4e4}, dtype, *device);
      const Tensor sum_squares = from_doubles({3}, {50, 0, 4e8 - 32}, dtype, *device);
      Tensor mean = filled_with_nan({3}, dtype, *device), var = filled_with_nan({3}, dtype, *device);
      kernels::batch_norm_from_sums(sum, sum_squares, 4, mean, var);
      CHECK(to_doubles(mean) == std::vector<double>{3, 0, 1e4});
      CHECK(to_doubles(var) == std::vector<double>{3.5, 0, 0});
      const Tensor many = random_uniform({300}, dtype, *device, -5, 5, 7),
                   squares = random_uniform({300}, dtype, *device, 40, 90, 8);
      Tensor many_mean = filled_with_nan({300}, dtype, *device), many_var = filled_with_nan({300}, dtype, *device);
      kernels::batch_norm_from_sums(many, squares, 10, many_mean, many_var);
      std::vector<double> expected_mean = to_doubles(many), expected_var = to_doubles(squares);
      for (size_t i = 0; i < expected_mean.size(); ++i) {
        expected_mean[i] /= 10;
        expected_var[i] = expected_var[i] / 10 - expected_mean[i] * expected_mean[i];
      }
      CHECK(relative_l2(many_mean, expected_mean) <= 1e-7);
      CHECK(relative_l2(many_var, expected_var) <= 1e-7);
      Tensor short_var = Tensor::zeros({2}, dtype, *device);
      CHECK(error_of([&] {
              kernels::batch_norm_from_sums(sum, sum_squares, 4, mean, short_var);
            }).starts_with("batch_norm_from_sums: sum and var differ: sum is"));
      CHECK(error_of([&] { kernels::batch_norm_from_sums(sum, sum_squares, 0, mean, var); }) ==
            "batch_norm_from_sums: count: expected at least 1, got 0");
    }
}

TEST_CASE("batch norm takes empty tensors and refuses wrong arguments by name") {
  for (const auto& device : test_devices()) {
    Layer l({2, 3}, DType::f32, *device);
    Tensor none = Tensor::empty({0, 3}, DType::f32, *device), y = Tensor::like(l.x);
    Tensor sum_dy = filled_with_nan({3}, DType::f32, *device), sum_dy_xhat = sum_dy.clone();
    kernels::batch_norm_statistics(none, sum_dy, sum_dy_xhat);
    CHECK(to_doubles(sum_dy_xhat) == std::vector<double>{0, 0, 0});
    kernels::batch_norm_apply(none, l.params(), nullptr, true, none);
    kernels::batch_norm_backward_reduce(none, none, nullptr, l.params(), sum_dy, sum_dy_xhat);
    CHECK(to_doubles(sum_dy) == std::vector<double>{0, 0, 0});

    Tensor wide = Tensor::empty({4}, DType::f32, *device), half = Tensor::empty({2, 3}, DType::bf16, *device);
    CHECK(error_of([&] { kernels::batch_norm_statistics(l.x, wide, sum_dy); }) ==
          "batch_norm_statistics: mean: expected [3], got [4]");
    CHECK(error_of([&] {
            kernels::batch_norm_apply(l.x, l.params(), nullptr, true, half);
          }).starts_with("batch_norm_apply: x and y differ"));
    CHECK(error_of([&] {
            kernels::batch_norm_apply(l.x, l.params(), &half, true, y);
          }).starts_with("batch_norm_apply: x and residual differ"));
    const kernels::BatchNormParams bad{l.mean, l.var, wide, l.bias, 1e-5};
    CHECK(error_of([&] { kernels::batch_norm_apply(l.x, bad, nullptr, true, y); }) ==
          "batch_norm_apply: weight: expected [3], got [4]");
    CHECK(error_of([&] {
            kernels::batch_norm_backward_apply(l.dy, l.x, nullptr, l.params(), &sum_dy, nullptr, 2, y, nullptr);
          }).starts_with("batch_norm_backward_apply: sum_dy and sum_dy_xhat: expected both"));
    CHECK(error_of([&] {
            kernels::batch_norm_backward_apply(l.dy, l.x, nullptr, l.params(), &sum_dy, &sum_dy_xhat, 0, y, nullptr);
          }) == "batch_norm_backward_apply: count: expected at least 1, got 0");
    CHECK(error_of([&] { kernels::batch_norm_update_running(l.mean, l.var, 0, 0.1, sum_dy, sum_dy_xhat); }) ==
          "batch_norm_update_running: count: expected at least 1, got 0");
    const auto other = Device::create("cpu");
    Tensor elsewhere = Tensor::empty({3}, DType::f32, *other);
    CHECK(error_of([&] {
            kernels::batch_norm_statistics(l.x, sum_dy, elsewhere);
          }).starts_with("batch_norm_statistics: var: expected on "));
  }
}
