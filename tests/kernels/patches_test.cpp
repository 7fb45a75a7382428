#include "kernels/patches.h"

#include <doctest/doctest.h>

#include "tests/support/tensors.h"

namespace segrt {
namespace {
using namespace test;

struct Case {
  Shape x;
  int side;
};
const Case kCases[] = {{{1, 1, 1, 1}, 1},   {{1, 2, 2, 1}, 2},    {{2, 4, 6, 19}, 2}, {{1, 6, 3, 33}, 3},
                       {{2, 8, 16, 40}, 4}, {{1, 16, 16, 5}, 16}, {{1, 2, 4, 512}, 2}};

// Where element (n, h, w, c) of x goes.
struct Places {
  explicit Places(const Case& c) : x(c.x), side(c.side) {}
  size_t cell(int64_t i) const {
    const int64_t w = i / x[3] % x[2], row = i / x[3] / x[2];  // row: of all images
    return static_cast<size_t>((row / side * (x[2] / side) + w / side) * x[3] + i % x[3]);
  }
  size_t patch(int64_t i) const {
    const int64_t w = i / x[3] % x[2], row = i / x[3] / x[2];
    return cell(i) * static_cast<size_t>(side * side) + static_cast<size_t>(row % side * side + w % side);
  }
  Shape x;
  int side;
};
}  // namespace

TEST_CASE("patches and their means agree with their definition, and gradients go back") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Case& c : kCases) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(c.x);
        const int64_t area = int64_t{c.side} * c.side;
        const Places places(c);
        const Shape cells{c.x[0], c.x[1] / c.side, c.x[2] / c.side, c.x[3]};
        const Shape wide{cells[0], cells[1], cells[2], cells[3] * area};
        const Tensor x = random_normal(c.x, dtype, *device);
        Tensor patches = filled_with_nan(wide, dtype, *device), means = filled_with_nan(cells, dtype, *device);
        kernels::split_patches(x, c.side, &patches, &means);
        const std::vector<double> values = to_doubles(x);
        std::vector<double> moved(values.size()), mean(values.size() / static_cast<size_t>(area));
        for (int64_t i = 0; i < x.numel(); ++i) {
          const double v = values[static_cast<size_t>(i)];
          moved[places.patch(i)] = v;
          mean[places.cell(i)] += v / static_cast<double>(area);
        }
        CHECK(to_doubles(patches) == moved);
        CHECK(relative_l2(means, mean) <= tolerance(dtype, area));

        Tensor alone = filled_with_nan(cells, dtype, *device), again = filled_with_nan(wide, dtype, *device);
        kernels::split_patches(x, c.side, nullptr, &alone);
        kernels::split_patches(x, c.side, &again, nullptr);
        CHECK(to_doubles(alone) == to_doubles(means));
        CHECK(to_doubles(again) == moved);

        const Tensor dpatches = random_normal(wide, dtype, *device, {.seed = 2});
        const Tensor dmeans = random_normal(cells, dtype, *device, {.seed = 3});
        const std::vector<double> of_patches = to_doubles(dpatches), of_means = to_doubles(dmeans);
        std::vector<double> both(values.size()), from_means(values.size());
        for (int64_t i = 0; i < x.numel(); ++i) {
          const auto at = static_cast<size_t>(i);
          from_means[at] = of_means[places.cell(i)] / static_cast<double>(area);
          both[at] = of_patches[places.patch(i)] + from_means[at];
        }
        Tensor dx = filled_with_nan(c.x, dtype, *device);
        kernels::split_patches_backward(&dpatches, &dmeans, c.side, dx);
        CHECK(relative_l2(dx, both) <= tolerance(dtype, 2));
        kernels::split_patches_backward(nullptr, &dmeans, c.side, dx);
        CHECK(relative_l2(dx, from_means) <= tolerance(dtype, 2));
        kernels::split_patches_backward(&dpatches, nullptr, c.side, dx);
        kernels::split_patches(dx, c.side, &again, nullptr);
        CHECK(to_doubles(again) == of_patches);
      }
}

TEST_CASE("maps that patches do not divide are refused") {
  const auto device = Device::create("cpu");
  const Tensor x = Tensor::zeros({1, 4, 6, 3}, DType::f32, *device);
  Tensor y = Tensor::zeros({1, 1, 1, 48}, DType::f32, *device);
  CHECK(error_of([&] {
          kernels::split_patches(x, 4, &y, nullptr);
        }).find("split_patches: x: expected sides that are multiples of 4, got [1,4,6,3]") != std::string::npos);
}

}  // namespace segrt
