#include <doctest/doctest.h>

#include <cmath>

#include "kernels/norm.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::test;

TEST_CASE("batch norm statistics of several processes are those of all their positions") {
  for (auto& device : test_devices())
    for (const DType dtype : {DType::f32, DType::f64})
      for (const double mean_of_all : {0.0, 1e4}) {  // far from zero nothing may cancel
        if (dtype == DType::f64 && !device->is_cpu()) continue;
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(mean_of_all);
        constexpr int64_t kChannels = 131;
        const std::vector<int64_t> counts{5, 0, 400, 1};
        Tensor messages = Tensor::zeros({4, 2 * kChannels + 1}, dtype, *device);
        std::vector<double> values;  // [positions, C] of all
        for (size_t r = 0; r < counts.size(); ++r) {
          const Tensor x = random_normal({counts[r], kChannels}, dtype, *device,
                                         {.seed = r + 1, .mean = mean_of_all + static_cast<double>(r)});
          const Tensor message = messages.slice(static_cast<int64_t>(r), 1).reshape({2 * kChannels + 1});
          Tensor mean = message.slice(0, kChannels), var = message.slice(kChannels, kChannels);
          Tensor count = message.slice(2 * kChannels, 1);
          kernels::batch_norm_statistics(x, mean, var);
          count.copy_from(from_doubles({1}, {static_cast<double>(counts[r])}, dtype, *device));
          const std::vector<double> own = to_doubles(x);
          values.insert(values.end(), own.begin(), own.end());
        }
        Tensor mean = filled_with_nan({kChannels}, dtype, *device), var = Tensor::like(mean),
               unbiased = Tensor::like(mean);
        Tensor count = filled_with_nan({1}, dtype, *device);
        kernels::batch_norm_combine(messages, mean, var, unbiased, count);
        CHECK(count.item() == 406);
        std::vector<double> means(kChannels), vars(kChannels);
        for (size_t i = 0; i < values.size(); ++i) means[i % kChannels] += values[i] / 406;
        for (size_t i = 0; i < values.size(); ++i)
          vars[i % kChannels] += std::pow(values[i] - means[i % kChannels], 2) / 406;
        CHECK(relative_l2(mean, means) <= tolerance(dtype, 406));
        // The messages' means are rounded, which moves them by that share of a standard deviation.
        const double bound = tolerance(dtype, 406) + mean_of_all * tolerance(dtype);
        CHECK(relative_l2(var, vars) <= bound);
        for (double& v : vars) v *= 406.0 / 405;
        CHECK(relative_l2(unbiased, vars) <= bound);
        // One position in all, and none.
        Tensor few = messages.slice(3, 1);
        kernels::batch_norm_combine(few, mean, var, unbiased, count);
        CHECK(to_doubles(var) == std::vector<double>(kChannels, 0));
        CHECK(to_doubles(unbiased) == to_doubles(var));
        few = messages.slice(1, 1);
        kernels::batch_norm_combine(few, mean, var, unbiased, count);
        CHECK(to_doubles(mean) == std::vector<double>(kChannels, 0));
        CHECK(count.item() == 0);
        Tensor short_var = Tensor::zeros({2}, dtype, *device);
        CHECK(error_of([&] {
                kernels::batch_norm_combine(messages, mean, short_var, unbiased, count);
              }).starts_with("batch_norm_combine: var: expected"));
      }
}
