#include "kernels/batch_augment.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/random.h"
#include "tests/support/tensors.h"

namespace segrt {
using namespace test;

TEST_CASE("rectangles become the normal numbers of their streams on every device") {
  constexpr int64_t kHeight = 6, kWidth = 9;
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const int64_t channels : {3, 4, 1}) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        const Tensor before = random_normal({3, kHeight, kWidth, channels}, dtype, *device);
        Tensor x = before.clone();
        // One inside, none, the whole image.
        const std::vector<int64_t> r{1, 2, 3, 5, 77, 0, 0, 0, 0, 5, 0, 0, kHeight, kWidth, -3};
        kernels::erase_rectangles(Tensor::from<int64_t>({3, 5}, r, *device), 11, x);
        std::vector<double> expected = to_doubles(before);
        for (size_t n = 0; n < 3; ++n)
          for (int64_t p = 0; p < r[5 * n + 2] * r[5 * n + 3]; ++p) {
            const Philox4 w = philox(11, static_cast<uint64_t>(r[5 * n + 4]), static_cast<uint64_t>(p));
            for (int64_t c = 0; c < channels; ++c) {
              const double u = (static_cast<double>(w.v[c / 2 * 2] >> 8) + 1) / 16777216;
              const double t = 2 * M_PI * static_cast<double>(w.v[c / 2 * 2 + 1] >> 8) / 16777216;
              const double radius = std::sqrt(-2 * std::log(u));
              const int64_t y = r[5 * n] + p / r[5 * n + 3], column = r[5 * n + 1] + p % r[5 * n + 3];
              const auto at =
                  static_cast<size_t>(((static_cast<int64_t>(n) * kHeight + y) * kWidth + column) * channels + c);
              expected[at] = radius * (c % 2 == 0 ? std::cos(t) : std::sin(t));
            }
          }
        // The numbers are made in float32 whatever the tensor's type; an angle near 2 pi is rounded to 2.4e-7.
        const double bound = 5.8 * (dtype == DType::f16 || dtype == DType::bf16 ? tolerance(dtype) : 5e-7);
        CHECK(max_abs_difference(to_doubles(x), expected) <= bound);
      }
}

TEST_CASE("erased pixels have mean 0 and deviation 1") {
  const auto device = Device::create("cpu");
  Tensor x = Tensor::zeros({1, 100, 100, 3}, DType::f32, *device);
  kernels::erase_rectangles(Tensor::from<int64_t>({1, 5}, std::vector<int64_t>{0, 0, 100, 100, 1}, *device), 3, x);
  double sum = 0, squares = 0, neighbours = 0;
  const std::vector<double> v = to_doubles(x);
  for (size_t i = 0; i < v.size(); ++i) {
    sum += v[i];
    squares += v[i] * v[i];
    if (i > 0) neighbours += v[i] * v[i - 1];
  }
  const auto count = static_cast<double>(v.size());
  CHECK(std::abs(sum / count) < 4 / std::sqrt(count));
  CHECK(std::abs(squares / count - 1) < 4 * std::sqrt(2 / count));
  CHECK(std::abs(neighbours / count) < 4 / std::sqrt(count));
}

TEST_CASE("a batch blended with, and a box swapped from, its reverse") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Shape& shape : {Shape{2, 3, 5, 3}, Shape{6, 4, 4, 3}, Shape{4, 1, 1, 1}, Shape{0, 2, 2, 3}}) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(shape);
        const Tensor before = random_normal(shape, dtype, *device, {.seed = 3});
        const std::vector<double> v = to_doubles(before);
        const auto n = static_cast<size_t>(shape[0]), size = n > 0 ? v.size() / n : 0;
        std::vector<double> blended(v.size()), swapped = v;
        const int64_t row = shape[2] * shape[3];
        for (size_t i = 0; i < v.size(); ++i) {
          const size_t partner = (n - 1 - i / size) * size + i % size;
          blended[i] = 0.3 * v[i] + 0.7 * v[partner];
          const auto y = static_cast<int64_t>(i % size) / row, column = static_cast<int64_t>(i % size) % row / shape[3];
          if (y < 2 && column >= shape[2] - 1) swapped[i] = v[partner];
        }
        Tensor x = before.clone();
        kernels::blend_with_reversed(0.3, x);
        CHECK(max_abs_difference(to_doubles(x), blended) <= 8 * tolerance(dtype, 2));
        x = before.clone();
        kernels::swap_with_reversed(0, static_cast<int>(shape[2]) - 1, std::min(2, static_cast<int>(shape[1])), 1, x);
        CHECK(to_doubles(x) == swapped);
      }
}

TEST_CASE("an odd batch has no reverse") {
  const auto device = Device::create("cpu");
  Tensor x = Tensor::zeros({3, 2, 2, 3}, DType::f32, *device);
  CHECK(error_of([&] { kernels::blend_with_reversed(0.5, x); }).find("even batch") != std::string::npos);
  CHECK(error_of([&] { kernels::swap_with_reversed(0, 0, 1, 1, x); }).find("even batch") != std::string::npos);
  Tensor even = Tensor::zeros({2, 2, 2, 3}, DType::f32, *device);
  CHECK(error_of([&] { kernels::swap_with_reversed(1, 0, 2, 1, even); }).find("not inside") != std::string::npos);
  CHECK(error_of([&] { kernels::blend_with_reversed(1.5, even); }).find("share") != std::string::npos);
}

}  // namespace segrt
