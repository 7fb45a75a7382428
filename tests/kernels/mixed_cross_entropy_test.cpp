#include "kernels/mixed_cross_entropy.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/error.h"
#include "tests/support/tensors.h"

namespace segrt {
namespace {
using namespace test;

// Dense targets, in float64.
std::vector<double> dense_targets(const std::vector<double>& labels, int64_t classes, double share, double smoothing) {
  const auto n = static_cast<int64_t>(labels.size());
  std::vector<double> t(static_cast<size_t>(n * classes));
  for (int64_t row = 0; row < n; ++row)
    for (int64_t c = 0; c < classes; ++c) {
      const double on = 1 - smoothing + smoothing / static_cast<double>(classes);
      const double off = smoothing / static_cast<double>(classes);
      const auto value = [&](int64_t k) { return labels[static_cast<size_t>(k)] == static_cast<double>(c) ? on : off; };
      t[static_cast<size_t>(row * classes + c)] = share * value(row) + (1 - share) * value(n - 1 - row);
    }
  return t;
}
}  // namespace

TEST_CASE("cross-entropy of mixed images agrees with dense targets in float64 on every device") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const auto& [rows, classes] : {std::pair{1, 1}, {2, 3}, {7, 33}, {4, 1000}, {10, 32}})
        for (const double smoothing : {0.0, 0.1})
          for (const double share : {1.0, 0.7, 0.0}) {
            CAPTURE(device->name());
            CAPTURE(dtype);
            CAPTURE(rows);
            CAPTURE(classes);
            CAPTURE(share);
            const Tensor x = random_normal({rows, classes}, dtype, *device, {.seed = 5, .std = 3});
            const DType sum_dtype = dtype == DType::f64 ? DType::f64 : DType::f32;
            kernels::MixedTargets targets{.labels = random_labels({rows}, DType::i64, *device, classes, 0),
                                          .smoothing = smoothing};
            if (share != 1.0) targets.share = from_doubles({1}, {share}, DType::f32, *device);
            const std::vector<double> t = dense_targets(to_doubles(targets.labels), classes,
                                                        static_cast<double>(static_cast<float>(share)), smoothing);
            const std::vector<double> z = to_doubles(x);
            std::vector<double> losses, gradient(z.size());
            for (int n = 0; n < rows; ++n) {
              const auto begin = static_cast<size_t>(n) * static_cast<size_t>(classes);
              double largest = z[begin], sum = 0, loss = 0;
              for (size_t c = 0; c < static_cast<size_t>(classes); ++c) largest = std::max(largest, z[begin + c]);
              for (size_t c = 0; c < static_cast<size_t>(classes); ++c) sum += std::exp(z[begin + c] - largest);
              for (size_t c = 0; c < static_cast<size_t>(classes); ++c) {
                const double log_p = z[begin + c] - largest - std::log(sum);
                loss -= t[begin + c] * log_p;
                gradient[begin + c] = 0.5 * (std::exp(log_p) - t[begin + c]);
              }
              losses.push_back(loss);
            }
            Tensor loss = filled_with_nan({rows}, sum_dtype, *device), dx = filled_with_nan(x.shape(), dtype, *device);
            kernels::mixed_cross_entropy_forward(x, targets, loss);
            // Differences of sums: measured against their terms, which are of size std.
            CHECK(max_abs_difference(to_doubles(loss), losses) <= 20 * tolerance(sum_dtype, classes));
            kernels::mixed_cross_entropy_backward(x, targets, from_doubles({1}, {0.5}, sum_dtype, *device), dx);
            CHECK(max_abs_difference(to_doubles(dx), gradient) <= tolerance(dtype, classes));
          }
}

TEST_CASE("cross-entropy of mixed images: a label that is no class") {
  for (const auto& device : test_devices()) {
    const Tensor x = random_normal({2, 4}, DType::f32, *device);
    const kernels::MixedTargets targets{.labels = from_doubles({2}, {1, 4}, DType::i64, *device)};
    Tensor loss = Tensor::zeros({2}, DType::f32, *device);
    if (device->is_cpu())
      CHECK_THROWS_WITH_AS(kernels::mixed_cross_entropy_forward(x, targets, loss), doctest::Contains("4"), Error);
    else {
      kernels::mixed_cross_entropy_forward(x, targets, loss);
      CHECK(std::isnan(to_doubles(loss)[0]));
    }
  }
}

}  // namespace segrt
