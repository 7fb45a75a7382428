#include "train/sliding_window.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "core/error.h"
#include "kernels/elementwise.h"
#include "tests/support/tensors.h"

namespace {
using namespace segrt;
using train::SlidingWindow;
using train::window_begins;

// Something that depends on the whole window: channel k is x0 * (k + 1) plus the mean of the window, in float32.
Tensor logits_of(const Tensor& windows) {
  const std::vector<double> x = test::to_doubles(windows);
  const auto count = static_cast<size_t>(windows.dim(0)), pixels = static_cast<size_t>(windows.dim(1) * windows.dim(2));
  std::vector<float> y(count * pixels * 2);
  for (size_t n = 0; n < count; ++n) {
    double sum = 0;
    for (size_t p = 0; p < pixels * 3; ++p) sum += x[n * pixels * 3 + p];
    for (size_t p = 0; p < pixels; ++p)
      for (size_t k = 0; k < 2; ++k)
        y[(n * pixels + p) * 2 + k] = static_cast<float>(x[(n * pixels + p) * 3] * static_cast<double>(k + 1) +
                                                         sum / static_cast<double>(pixels));
  }
  return Tensor::from<float>({windows.dim(0), windows.dim(1), windows.dim(2), 2}, y, windows.device());
}

// The definition in float64: for every window on its own, then the mean.
std::vector<double> reference(const Tensor& image, const SlidingWindow& w) {
  const int64_t height = image.dim(1), width = image.dim(2);
  const int64_t h = std::min<int64_t>(w.height, height), v = std::min<int64_t>(w.width, width);
  const std::vector<double> x = test::to_doubles(image);
  const auto at = [&](int64_t y, int64_t c) { return static_cast<size_t>(y * width + c); };
  std::vector<double> sum(x.size() / 3 * 2), count(x.size() / 3);
  for (int64_t i = 0; i < std::max<int64_t>((height - w.height + w.stride_height - 1) / w.stride_height, 0) + 1; ++i)
    for (int64_t j = 0; j < std::max<int64_t>((width - w.width + w.stride_width - 1) / w.stride_width, 0) + 1; ++j) {
      const int64_t bottom = std::min(i * w.stride_height + w.height, height),
                    top = std::max(bottom - w.height, int64_t{0});
      const int64_t right = std::min(j * w.stride_width + w.width, width), left = std::max(right - w.width, int64_t{0});
      double mean = 0;
      for (int64_t y = top; y < bottom; ++y)
        for (int64_t c = left; c < right; ++c)
          for (size_t k = 0; k < 3; ++k) mean += x[at(y, c) * 3 + k] / static_cast<double>(h * v);
      for (int64_t y = top; y < bottom; ++y)
        for (int64_t c = left; c < right; ++c) {
          count[at(y, c)] += 1;
          for (size_t k = 0; k < 2; ++k) sum[at(y, c) * 2 + k] += x[at(y, c) * 3] * static_cast<double>(k + 1) + mean;
        }
    }
  for (size_t i = 0; i < sum.size(); ++i) sum[i] /= count[i / 2];
  return sum;
}

struct Slid {
  std::vector<double> map;
  std::vector<Shape> batches;
  std::vector<int64_t> firsts;
  int64_t tallest = 0;
};
Slid slid(const Tensor& image, const SlidingWindow& window) {
  Slid s;
  train::slide(
      image, window,
      [&](const Tensor& windows) {
        s.batches.push_back(windows.shape());
        return logits_of(windows);
      },
      [&](int64_t first, const Tensor& rows) {
        s.firsts.push_back(first);
        s.tallest = std::max(s.tallest, rows.dim(1));
        REQUIRE(static_cast<int64_t>(s.map.size()) == first * image.dim(2) * 2);
        for (const double v : test::to_doubles(rows)) s.map.push_back(v);
      });
  return s;
}
}  // namespace

TEST_CASE("windows begin where the published procedures put them") {
  // DGMN2: 769x769, stride 513.
  CHECK(window_begins(1025, 769, 513) == std::vector<int64_t>{0, 256});
  CHECK(window_begins(2049, 769, 513) == std::vector<int64_t>{0, 513, 1026, 1280});
  const auto counts = [](int height, int width) {
    return std::pair(window_begins(height, 769, 513).size(), window_begins(width, 769, 513).size());
  };
  CHECK(counts(512, 1024) == std::pair<size_t, size_t>(1, 2));
  CHECK(counts(768, 1536) == std::pair<size_t, size_t>(1, 3));
  CHECK(counts(1281, 2561) == std::pair<size_t, size_t>(2, 5));
  CHECK(counts(1537, 3073) == std::pair<size_t, size_t>(3, 6));
  CHECK(counts(1793, 3585) == std::pair<size_t, size_t>(3, 7));
  CHECK(window_begins(769, 769, 513) == std::vector<int64_t>{0});
  CHECK(window_begins(770, 769, 513) == std::vector<int64_t>{0, 1});
  CHECK(window_begins(10, 4, 4) == std::vector<int64_t>{0, 4, 6});
}

TEST_CASE("the mean over windows equals its definition, for any batch, on every device") {
  for (auto& device : test::test_devices())
    for (const Shape& shape : {Shape{1, 23, 31, 3}, Shape{1, 9, 31, 3}, Shape{1, 23, 7, 3}, Shape{1, 5, 6, 3}})
      for (const int batch : {1, 2, 3, 8}) {
        CAPTURE(device->name());
        CAPTURE(shape);
        CAPTURE(batch);
        const Tensor image = test::random_normal(shape, DType::f32, *device);
        const SlidingWindow window{.height = 9, .width = 11, .stride_height = 4, .stride_width = 7, .batch = batch};
        const Slid s = slid(image, window);
        const std::vector<double> expected = reference(image, window);
        REQUIRE(s.map.size() == expected.size());
        CHECK(test::max_abs_difference(s.map, expected) < 1e-5);
        CHECK(s.tallest <= 9);
        for (const Shape& b : s.batches) {
          CHECK(b[0] <= batch);
          CHECK(b[1] == std::min<int64_t>(9, shape[1]));
          CHECK(b[2] == std::min<int64_t>(11, shape[2]));
        }
      }
}

TEST_CASE("batches of one row of windows are as equal as they can be") {
  auto device = Device::create("cpu");
  const Tensor image = test::random_normal({1, 4, 50, 3}, DType::f32, *device);
  const auto sizes = [&](int batch) {
    std::vector<int64_t> result;
    for (const Shape& b :
         slid(image, {.height = 4, .width = 10, .stride_height = 4, .stride_width = 10, .batch = batch}).batches)
      result.push_back(b[0]);
    return result;
  };
  CHECK(sizes(4) == std::vector<int64_t>{3, 2});
  CHECK(sizes(5) == std::vector<int64_t>{5});
  CHECK(sizes(100) == std::vector<int64_t>{5});
}

TEST_CASE("windows that would leave pixels out, or none at all, are refused") {
  auto device = Device::create("cpu");
  const Tensor image = test::random_normal({1, 8, 8, 3}, DType::f32, *device);
  const auto refusal = [&](const Tensor& x, const SlidingWindow& w) {
    return test::error_of([&] { train::slide(x, w, logits_of, [](int64_t, const Tensor&) {}); });
  };
  CHECK(refusal(image, {.height = 4, .width = 4, .stride_height = 5, .stride_width = 4}) ==
        "sliding window: stride: expected 1 up to the window's 4x4, got 5x4");
  CHECK(refusal(image, {.height = 4, .width = 4}).find("got 0x0") != std::string::npos);
  CHECK(refusal(image, {.stride_height = 1, .stride_width = 1}).find("at least 1x1") != std::string::npos);
  CHECK(refusal(test::random_normal({2, 8, 8, 3}, DType::f32, *device),
                {.height = 4, .width = 4, .stride_height = 4, .stride_width = 4}) ==
        "sliding window: image: expected [1,H,W,C], got [2,8,8,3]");
}
