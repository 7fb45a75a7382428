#include "kernels/pool.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tests/support/tensors.h"

namespace segrt {
namespace {
using namespace test;
using kernels::PoolGeometry;

struct Case {
  Shape x;
  PoolGeometry g;
};
const Case kCases[] = {
    {{1, 1, 1, 1}, {.kernel_h = 1, .kernel_w = 1}},
    {{2, 7, 9, 19}, PoolGeometry::square({.kernel = 3, .stride = 2, .padding = 1})},
    {{1, 8, 6, 16}, {.stride_h = 2, .stride_w = 2}},
    {{1, 6, 5, 8}, {.kernel_h = 3, .kernel_w = 2, .stride_h = 2, .stride_w = 3, .ceil_mode = true}},
    {{1, 5, 5, 3},
     {.kernel_h = 3,
      .kernel_w = 3,
      .stride_h = 2,
      .stride_w = 2,
      .pad_top = 1,
      .pad_left = 1,
      .pad_bottom = 1,
      .pad_right = 1,
      .ceil_mode = true,
      .count_include_pad = true}},
    {{1, 6, 6, 5},
     {.kernel_h = 3,
      .kernel_w = 3,
      .stride_h = 2,
      .stride_w = 2,
      .pad_top = 1,
      .pad_left = 0,
      .pad_bottom = 0,
      .pad_right = 2,
      .count_include_pad = true}},
    {{1, 4, 4, 2}, {.kernel_h = 1, .kernel_w = 1, .stride_h = 3, .stride_w = 3, .ceil_mode = true}},
    {{1, 6, 7, 33}, PoolGeometry::square({.kernel = 3, .padding = 1})},
    {{1, 7, 8, 4},
     {.kernel_h = 2,
      .kernel_w = 3,
      .stride_h = 2,
      .stride_w = 1,
      .pad_top = 1,
      .pad_left = 2,
      .pad_bottom = 1,
      .pad_right = 2,
      .dilation_h = 2,
      .dilation_w = 3}},
    {{0, 4, 4, 2}, {}},
};
bool dilated(const PoolGeometry& g) { return g.dilation_h > 1 || g.dilation_w > 1; }

// Every (output, tap) pair in the map, by the definition: f(output position, input position), and the number of taps in
// the padded map for each output.
template <typename F>
std::vector<int64_t> for_taps(const Shape& x, const Shape& y, const PoolGeometry& g, const F& f) {
  std::vector<int64_t> padded;
  for (int64_t n = 0; n < x[0]; ++n)
    for (int64_t p = 0; p < y[1]; ++p)
      for (int64_t q = 0; q < y[2]; ++q) {
        padded.push_back(0);
        for (int64_t kh = 0; kh < g.kernel_h; ++kh)
          for (int64_t kw = 0; kw < g.kernel_w; ++kw) {
            const int64_t i = p * g.stride_h - g.pad_top + kh * g.dilation_h;
            const int64_t j = q * g.stride_w - g.pad_left + kw * g.dilation_w;
            if (i < x[1] + g.pad_bottom && j < x[2] + g.pad_right) ++padded.back();
            if (i >= 0 && i < x[1] && j >= 0 && j < x[2])
              f(static_cast<size_t>((n * y[1] + p) * y[2] + q), static_cast<size_t>((n * x[1] + i) * x[2] + j),
                static_cast<int32_t>(i * x[2] + j));
          }
      }
  return padded;
}

}  // namespace

TEST_CASE("pooled sizes follow PyTorch's rule") {
  const auto size = [](int64_t in, int kernel, int stride, int pad, bool ceil) {
    const PoolGeometry g{
        .kernel_h = kernel, .kernel_w = 1, .stride_h = stride, .pad_top = pad, .pad_bottom = pad, .ceil_mode = ceil};
    return kernels::pool2d_output_shape({1, in, 1, 1}, g)[1];
  };
  // Values of torch.nn.functional.max_pool1d.
  CHECK(size(5, 2, 2, 0, false) == 2);
  CHECK(size(5, 2, 2, 0, true) == 3);
  CHECK(size(5, 3, 2, 1, true) == 3);
  CHECK(size(6, 3, 2, 1, true) == 4);
  CHECK(size(4, 1, 3, 0, true) == 2);
  CHECK(size(3, 1, 3, 0, true) == 1);
  CHECK(size(2, 2, 3, 1, true) == 1);  // the second window would start in the padding
  CHECK(size(224, 3, 2, 1, false) == 112);
  CHECK(error_of([&] { size(2, 5, 1, 1, false); }) ==
        "pool2d: height: a window of 5 does not fit an input of 2 with padding 1 and 1");
  CHECK(error_of([&] { size(8, 2, 1, 2, false); }) ==
        "pool2d: height: expected paddings in [0, 2), the window's extent, got 2 and 2");
}

TEST_CASE("max pooling agrees with its definition on every device") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Case& c : kCases) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(c.x);
        const Shape shape = kernels::pool2d_output_shape(c.x, c.g);
        const auto channels = static_cast<size_t>(c.x[3]);
        // Few distinct values: ties are common, and the first of them must win.
        Tensor x = random_uniform(c.x, dtype, *device, 0, 4);
        std::vector<double> values = to_doubles(x);
        for (double& v : values) v = std::floor(v);
        x = from_doubles(c.x, values, dtype, *device);
        std::vector<double> best(static_cast<size_t>(shape.numel()), -std::numeric_limits<double>::infinity());
        std::vector<double> where(best.size(), -1);
        const Tensor dy = random_normal(shape, dtype, *device);
        const std::vector<double> d = to_doubles(dy);
        std::vector<size_t> source(best.size());
        for_taps(c.x, shape, c.g, [&](size_t to, size_t from, int32_t position) {
          for (size_t k = 0; k < channels; ++k)
            if (values[from * channels + k] > best[to * channels + k]) {
              best[to * channels + k] = values[from * channels + k];
              where[to * channels + k] = position;
              source[to * channels + k] = from * channels + k;
            }
        });
        Tensor y = filled_with_nan(shape, dtype, *device);
        Tensor index = from_doubles(shape, std::vector<double>(best.size(), -9), DType::i32, *device);
        kernels::max_pool2d_forward(x, c.g, y, index);
        CHECK(to_doubles(y) == best);
        CHECK(to_doubles(index) == where);

        std::vector<double> gradient(values.size());
        for (size_t i = 0; i < d.size(); ++i)
          if (where[i] >= 0) gradient[source[i]] += d[i];
        Tensor dx = filled_with_nan(c.x, dtype, *device);
        kernels::max_pool2d_backward(dy, index, c.g, dx);
        CHECK(relative_l2(dx, gradient) <= tolerance(dtype, 9));
      }
}

TEST_CASE("max pooling: a NaN wins, the first one; minus infinity has an index") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  for (const auto& device : test_devices()) {
    const Tensor x = from_doubles({1, 2, 4, 1}, {1, nan, -inf, -inf, nan, 7, -inf, -inf}, DType::f32, *device);
    Tensor y = Tensor::zeros({1, 1, 2, 1}, DType::f32, *device),
           index = Tensor::zeros({1, 1, 2, 1}, DType::i32, *device);
    kernels::max_pool2d_forward(x, {.stride_h = 2, .stride_w = 2}, y, index);
    CHECK(std::isnan(to_doubles(y)[0]));
    CHECK(to_doubles(y)[1] == -inf);
    CHECK(to_doubles(index) == std::vector<double>{1, 2});
  }
}

TEST_CASE("average pooling agrees with its definition on every device") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Case& c : kCases) {
        if (dilated(c.g)) continue;
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(c.x);
        const Shape shape = kernels::pool2d_output_shape(c.x, c.g);
        const auto channels = static_cast<size_t>(c.x[3]);
        const Tensor x = random_normal(c.x, dtype, *device), dy = random_normal(shape, dtype, *device, {.seed = 2});
        const std::vector<double> values = to_doubles(x), d = to_doubles(dy);
        std::vector<double> sum(d.size()), gradient(values.size()), real(static_cast<size_t>(shape.numel()));
        const auto padded = for_taps(c.x, shape, c.g, [&](size_t to, size_t from, int32_t) {
          ++real[to];
          for (size_t k = 0; k < channels; ++k) sum[to * channels + k] += values[from * channels + k];
        });
        const auto divisor = [&](size_t to) {
          return c.g.count_include_pad ? static_cast<double>(padded[to]) : real[to];
        };
        for (size_t i = 0; i < sum.size(); ++i) sum[i] /= divisor(i / channels);
        for_taps(c.x, shape, c.g, [&](size_t to, size_t from, int32_t) {
          for (size_t k = 0; k < channels; ++k) gradient[from * channels + k] += d[to * channels + k] / divisor(to);
        });
        Tensor y = filled_with_nan(shape, dtype, *device), dx = filled_with_nan(c.x, dtype, *device);
        kernels::avg_pool2d_forward(x, c.g, y);
        CHECK(relative_l2(y, sum) <= tolerance(dtype, 9));
        kernels::avg_pool2d_backward(dy, c.g, dx);
        CHECK(relative_l2(dx, gradient) <= tolerance(dtype, 9));
      }
}

TEST_CASE("average pooling with ceil_mode divides as PyTorch does") {
  // torch.nn.functional.avg_pool1d([1..5], 3, 2, padding 1, ceil_mode) with and without count_include_pad; the last
  // window of size 6 reaches past the padding, which is not counted.
  for (const auto& device : test_devices())
    for (const bool include : {true, false}) {
      const PoolGeometry g{.kernel_h = 1,
                           .kernel_w = 3,
                           .stride_w = 2,
                           .pad_left = 1,
                           .pad_right = 1,
                           .ceil_mode = true,
                           .count_include_pad = include};
      const Tensor x = from_doubles({1, 1, 6, 1}, {1, 2, 3, 4, 5, 6}, DType::f32, *device);
      Tensor y = filled_with_nan(kernels::pool2d_output_shape(x.shape(), g), DType::f32, *device);
      kernels::avg_pool2d_forward(x, g, y);
      const std::vector<double> expected =
          include ? std::vector<double>{1, 3, 5, 3} : std::vector<double>{1.5, 3, 5, 6};
      CHECK(max_abs_difference(to_doubles(y), expected) <= 1e-6);
    }
}

TEST_CASE("global average pooling agrees with float64 on every device") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Shape& shape : {Shape{1, 1, 1, 1}, Shape{2, 5, 7, 19}, Shape{3, 20, 33, 40}, Shape{0, 2, 2, 3}}) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(shape);
        const Tensor x = random_normal(shape, dtype, *device, {.mean = 1});
        const Shape mean_shape{shape[0], 1, 1, shape[3]};
        const std::vector<double> values = to_doubles(x);
        std::vector<double> mean(static_cast<size_t>(mean_shape.numel()));
        const int64_t pixels = shape[1] * shape[2];
        const auto slot = [&](size_t i) {
          const auto e = static_cast<int64_t>(i);
          return static_cast<size_t>(e / (pixels * shape[3]) * shape[3] + e % shape[3]);
        };
        for (size_t i = 0; i < values.size(); ++i) mean[slot(i)] += values[i] / static_cast<double>(pixels);
        Tensor y = filled_with_nan(mean_shape, dtype, *device), dx = filled_with_nan(shape, dtype, *device);
        kernels::global_avg_pool_forward(x, y);
        CHECK(relative_l2(y, mean) <= tolerance(dtype, pixels));
        const Tensor dy = random_normal(mean_shape, dtype, *device);
        const std::vector<double> d = to_doubles(dy);
        std::vector<double> gradient(values.size());
        for (size_t i = 0; i < gradient.size(); ++i) gradient[i] = d[slot(i)] / static_cast<double>(pixels);
        kernels::global_avg_pool_backward(dy, dx);
        CHECK(relative_l2(dx, gradient) <= tolerance(dtype));
      }
}

TEST_CASE("pooling names what is wrong") {
  const auto device = Device::create("cpu");
  const Tensor x = Tensor::zeros({1, 4, 4, 2}, DType::f32, *device);
  Tensor y = Tensor::zeros({1, 3, 2, 2}, DType::f32, *device), index = Tensor::zeros({1, 3, 3, 2}, DType::i32, *device);
  CHECK(error_of([&] { kernels::max_pool2d_forward(x, {}, y, index); }) ==
        "max_pool2d: y: expected [1,3,3,2], got [1,3,2,2]");
  CHECK(error_of([&] { kernels::avg_pool2d_forward(x, {.dilation_h = 2}, y); }) ==
        "avg_pool2d: dilation: expected 1, average pooling has none");
}

}  // namespace segrt
