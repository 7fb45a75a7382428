#include "kernels/layer_norm.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/parallel.h"
#include "kernels/elementwise.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::test;

namespace {
// One row, one channel, channels that fill no vector, more than a warp's vectors, several chunks of rows.
const std::vector<Shape> kShapes = {{1, 1},       {5, 1},      {2, 3, 5, 19},   {3, 64},  {1, 7, 9, 128},
                                    {2, 11, 320}, {2, 3, 515}, {1, 2, 2, 2048}, {700, 24}};
constexpr double kEps = 1e-3;

DType statistics_of(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

struct Layer {
  Layer(const Shape& shape, DType dtype, Device& device, double mean = 0.5) {
    const DType p = statistics_of(dtype);
    const Shape c{shape[-1]};
    x = random_normal(shape, dtype, device, {.seed = 1, .mean = mean, .std = 2});
    branch = random_normal(shape, dtype, device, {.seed = 2});
    dy = random_normal(shape, dtype, device, {.seed = 3});
    dresidual = random_normal(shape, dtype, device, {.seed = 4});
    weight = random_normal(c, p, device, {.seed = 5});
    bias = random_normal(c, p, device, {.seed = 6});
  }
  kernels::LayerNormParams params() const { return {weight, bias, kEps}; }
  kernels::RowStatistics empty_statistics() const {
    const Shape rows{x.numel() / x.dim(-1)};
    return {filled_with_nan(rows, weight.dtype(), x.device()), filled_with_nan(rows, weight.dtype(), x.device())};
  }
  int64_t channels() const { return x.dim(-1); }

  Tensor x, branch, dy, dresidual, weight, bias;
};

struct Reference {
  std::vector<double> xhat, y, mean, rstd, dx, dweight, dbias;
};
// In float64; `x` is what is normalised.
Reference reference(const Layer& l, const std::vector<double>& x, bool residual) {
  const auto w = to_doubles(l.weight), b = to_doubles(l.bias), dy = to_doubles(l.dy), dr = to_doubles(l.dresidual);
  const size_t channels = w.size(), rows = x.size() / channels;
  const auto count = static_cast<double>(channels);
  Reference r{x, x, {}, {}, x, std::vector<double>(channels), std::vector<double>(channels)};
  for (size_t row = 0; row < rows; ++row) {
    const size_t at = row * channels;
    double mean = 0, var = 0, g_sum = 0, gx_sum = 0;
    for (size_t c = 0; c < channels; ++c) mean += x[at + c] / count;
    for (size_t c = 0; c < channels; ++c) var += (x[at + c] - mean) * (x[at + c] - mean) / count;
    const double rstd = 1 / std::sqrt(var + kEps);
    r.mean.push_back(mean);
    r.rstd.push_back(rstd);
    for (size_t c = 0; c < channels; ++c) {
      r.xhat[at + c] = (x[at + c] - mean) * rstd;
      r.y[at + c] = r.xhat[at + c] * w[c] + b[c];
      g_sum += dy[at + c] * w[c];
      gx_sum += dy[at + c] * w[c] * r.xhat[at + c];
      r.dweight[c] += dy[at + c] * r.xhat[at + c];
      r.dbias[c] += dy[at + c];
    }
    for (size_t c = 0; c < channels; ++c)
      r.dx[at + c] =
          rstd * (dy[at + c] * w[c] - g_sum / count - r.xhat[at + c] * gx_sum / count) + (residual ? dr[at + c] : 0);
  }
  return r;
}

template <typename F>
void on_every_layer(const F& f) {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Shape& shape : kShapes) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(shape);
        f(Layer(shape, dtype, *device));
      }
}
}  // namespace

TEST_CASE("layer norm agrees with float64") {
  on_every_layer([](const Layer& l) {
    Tensor y = filled_with_nan(l.x.shape(), l.x.dtype(), l.x.device());
    kernels::RowStatistics s = l.empty_statistics();
    kernels::layer_norm_forward(l.x, l.params(), y, s);
    const Reference r = reference(l, to_doubles(l.x), false);
    const double statistic = tolerance(statistics_of(l.x.dtype()), l.channels());
    CHECK(relative_l2(y, r.y) <= tolerance(l.x.dtype(), l.channels()));
    CHECK(relative_l2(s.mean, r.mean) <= statistic);
    CHECK(relative_l2(s.rstd, r.rstd) <= statistic);
  });
}

TEST_CASE("layer norm is accurate where the mean is far larger than the deviation") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const Layer l({40, 320}, DType::f32, *device, 10000);
    Tensor y = Tensor::like(l.x);
    kernels::RowStatistics s = l.empty_statistics();
    kernels::layer_norm_forward(l.x, l.params(), y, s);
    const Reference r = reference(l, to_doubles(l.x), false);
    CHECK(relative_l2(s.rstd, r.rstd) <= 1e-6);
    // The mean itself is rounded to a float: 10000 has units of 2^-10, half of which is 2.4e-4 of the deviation.
    CHECK(relative_l2(y, r.y) <= 2.5e-4);
  }
}

TEST_CASE("the sum's norm has the bits of an addition and a norm") {
  on_every_layer([](const Layer& l) {
    Tensor sum = filled_with_nan(l.x.shape(), l.x.dtype(), l.x.device()), y = sum.clone(), apart = sum.clone();
    kernels::RowStatistics s = l.empty_statistics(), other = l.empty_statistics();
    kernels::add_layer_norm_forward(l.x, l.branch, l.params(), sum, y, s);
    Tensor expected = Tensor::like(l.x);
    kernels::binary_forward(kernels::Binary::add, l.x, l.branch, expected);
    kernels::layer_norm_forward(expected, l.params(), apart, other);
    CHECK(to_doubles(sum) == to_doubles(expected));
    CHECK(to_doubles(y) == to_doubles(apart));
    CHECK(to_doubles(s.mean) == to_doubles(other.mean));
    CHECK(to_doubles(s.rstd) == to_doubles(other.rstd));
  });
}

TEST_CASE("layer norm's gradients agree with float64") {
  on_every_layer([](const Layer& l) {
    const DType dtype = l.x.dtype();
    Tensor y = Tensor::like(l.x);
    kernels::RowStatistics s = l.empty_statistics();
    kernels::layer_norm_forward(l.x, l.params(), y, s);
    for (const bool residual : {false, true}) {
      CAPTURE(residual);
      const Reference r = reference(l, to_doubles(l.x), residual);
      Tensor dx = filled_with_nan(l.x.shape(), dtype, l.x.device());
      kernels::layer_norm_backward_input(l.dy, l.x, l.weight, s, residual ? &l.dresidual : nullptr, dx);
      // One channel: the norm's own gradient is a difference of equal numbers times rstd = 1/sqrt(eps), 32.
      if (l.channels() > 1)
        CHECK(relative_l2(dx, r.dx) <= tolerance(dtype, 4 * l.channels()));
      else if (residual)
        CHECK(relative_l2(dx, r.dx) <= 32 * tolerance(dtype, 4));
      Tensor in_place = l.dy.clone();
      kernels::layer_norm_backward_input(in_place, l.x, l.weight, s, residual ? &l.dresidual : nullptr, in_place);
      CHECK(to_doubles(in_place) == to_doubles(dx));
    }
    const Reference r = reference(l, to_doubles(l.x), false);
    Tensor dweight = filled_with_nan(l.weight.shape(), l.weight.dtype(), l.x.device()), dbias = dweight.clone();
    kernels::layer_norm_backward_weight(l.dy, l.x, s, dweight, dbias);
    // The parameters' gradients are f32 sums whatever the activations are.
    const double bound = tolerance(statistics_of(dtype), 4 * l.x.numel() / l.channels());
    if (l.channels() > 1) CHECK(relative_l2(dweight, r.dweight) <= bound);
    CHECK(relative_l2(dbias, r.dbias) <= bound);
  });
}

TEST_CASE("layer norm: no rows, threads and wrong arguments") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const Layer none({0, 8}, DType::f32, *device);
    Tensor y = Tensor::like(none.x);
    kernels::RowStatistics s = none.empty_statistics();
    kernels::layer_norm_forward(none.x, none.params(), y, s);
    Tensor dweight = filled_with_nan({8}, DType::f32, *device), dbias = dweight.clone();
    kernels::layer_norm_backward_weight(none.dy, none.x, s, dweight, dbias);
    CHECK(to_doubles(dweight) == std::vector<double>(8));
    CHECK(to_doubles(dbias) == std::vector<double>(8));

    const Layer l({600, 40}, DType::f32, *device);
    s = l.empty_statistics();
    y = Tensor::like(l.x);
    kernels::layer_norm_forward(l.x, l.params(), y, s);
    std::vector<std::vector<double>> sums;
    for (const int count : {1, 2}) {
      set_threads(count);
      Tensor dw = Tensor::empty({40}, DType::f32, *device), db = Tensor::like(dw);
      kernels::layer_norm_backward_weight(l.dy, l.x, s, dw, db);
      sums.push_back(to_doubles(dw));
    }
    set_threads(0);
    CHECK(sums[0] == sums[1]);

    const Tensor short_weight = Tensor::empty({39}, DType::f32, *device);
    CHECK(error_of([&] {
            kernels::layer_norm_forward(l.x, {short_weight, l.bias, kEps}, y, s);
          }).find("weight") != std::string::npos);
    kernels::RowStatistics few{Tensor::empty({599}, DType::f32, *device), s.rstd};
    CHECK(error_of([&] { kernels::layer_norm_forward(l.x, l.params(), y, few); }).find("layer_norm: mean") !=
          std::string::npos);
    CHECK(error_of([&] {
            kernels::layer_norm_forward(l.x, {l.weight, l.bias, -1}, y, s);
          }).find("eps") != std::string::npos);
  }
}
