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

namespace {
// The samples `which` of x [N,...].
Tensor samples(const Tensor& x, const std::vector<int64_t>& which) {
  std::vector<int64_t> dims(x.shape().dims().begin(), x.shape().dims().end());
  dims[0] = static_cast<int64_t>(which.size());
  const Tensor part = Tensor::empty(Shape(dims), x.dtype(), x.device());
  for (size_t n = 0; n < which.size(); ++n) part.slice(static_cast<int64_t>(n), 1).copy_from(x.slice(which[n], 1));
  return part;
}
const std::vector<std::vector<std::vector<int64_t>>> kSplits = {
    {{0, 2}, {1, 3}}, {{0}, {1, 2, 3}}, {{3}, {1}, {0}, {2}}};
// One position a sample, several chunks of positions, several tiles of channels.
const std::vector<Shape> kMaps = {{4, 1, 1, 19}, {4, 70, 60, 16}, {4, 33, 21, 3}, {4, 7, 264}, {4, 9, 11, 2048}};
}  // namespace

TEST_CASE("cpu: batch norm statistics are the same bits however samples are spread over processes") {
  const auto device = Device::create("cpu");
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const Shape& shape : kMaps)
      for (const auto& split : kSplits) {
        CAPTURE(dtype);
        CAPTURE(shape);
        CAPTURE(split.size());
        const Tensor x = random_normal(shape, dtype, *device, {.seed = 3, .mean = 2});
        const int64_t channels = shape[-1];
        Tensor mean = filled_with_nan({channels}, DType::f32, *device), var = mean.clone();
        kernels::batch_norm_statistics(x, mean, var);
        Tensor messages = filled_with_nan({std::ssize(split), 2 * channels + 1}, DType::f64, *device);
        for (size_t r = 0; r < split.size(); ++r) {
          const Tensor part = samples(x, split[r]);
          const Tensor message = messages.slice(static_cast<int64_t>(r), 1).reshape({2 * channels + 1});
          Tensor part_mean = message.slice(0, channels), part_var = message.slice(channels, channels);
          kernels::batch_norm_statistics(part, part_mean, part_var);
          message.slice(2 * channels, 1).data<double>()[0] = static_cast<double>(part.numel() / channels);
        }
        Tensor all_mean = filled_with_nan({channels}, DType::f32, *device), all_var = all_mean.clone();
        Tensor unbiased = all_mean.clone(), count = filled_with_nan({1}, DType::f32, *device);
        kernels::batch_norm_combine(messages, all_mean, all_var, unbiased, count);
        CHECK(to_doubles(all_mean) == to_doubles(mean));
        CHECK(to_doubles(all_var) == to_doubles(var));
        CHECK(count.item() == static_cast<double>(x.numel() / channels));
        if (x.numel() / channels == 4) continue;  // what follows: statistics in f64 are not those in f32 written wider
        const Tensor rounded = from_doubles(messages.shape(), to_doubles(messages), DType::f32, *device);
        CHECK(to_doubles(messages) != to_doubles(rounded));
      }
}

TEST_CASE("cpu: batch norm gradient sums are the same bits however samples are spread over processes") {
  const auto device = Device::create("cpu");
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const Shape& shape : kMaps)
      for (const auto& split : kSplits)
        for (const bool relu : {false, true}) {
          CAPTURE(dtype);
          CAPTURE(shape);
          CAPTURE(split.size());
          CAPTURE(relu);
          const int64_t channels = shape[-1];
          const Tensor x = random_normal(shape, dtype, *device, {.seed = 3, .mean = 2});
          const Tensor dy = random_normal(shape, dtype, *device, {.seed = 4}), y = random_normal(shape, dtype, *device);
          const Tensor affine = random_uniform({channels}, DType::f32, *device, 0.5, 2, 5);
          const kernels::BatchNormParams params{affine, affine, affine, affine, 1e-5};
          Tensor sum_dy = filled_with_nan({channels}, DType::f32, *device), sum_dy_xhat = sum_dy.clone();
          kernels::batch_norm_backward_reduce(dy, x, relu ? &y : nullptr, params, sum_dy, sum_dy_xhat);
          std::vector<double> all(static_cast<size_t>(channels)), all_xhat = all;
          for (const std::vector<int64_t>& which : split) {
            Tensor part = filled_with_nan({channels}, DType::f64, *device), part_xhat = part.clone();
            const Tensor part_y = samples(y, which);
            kernels::batch_norm_backward_reduce(samples(dy, which), samples(x, which), relu ? &part_y : nullptr, params,
                                                part, part_xhat);
            for (size_t c = 0; c < all.size(); ++c) {
              all[c] += part.data<double>()[c];
              all_xhat[c] += part_xhat.data<double>()[c];
            }
          }
          CHECK(to_doubles(from_doubles({channels}, all, DType::f32, *device)) == to_doubles(sum_dy));
          CHECK(to_doubles(from_doubles({channels}, all_xhat, DType::f32, *device)) == to_doubles(sum_dy_xhat));
        }
}

TEST_CASE("batch norm refuses statistics in types that differ, and f64 where it is not offered") {
  const auto cpu = Device::create("cpu");
  const Tensor x = random_normal({2, 3, 4}, DType::f32, *cpu);
  Tensor wide = Tensor::empty({4}, DType::f64, *cpu), single = Tensor::empty({4}, DType::f32, *cpu);
  CHECK(error_of([&] {
          kernels::batch_norm_statistics(x, wide, single);
        }).starts_with("batch_norm_statistics: var: expected f64"));
  CHECK(error_of([&] {
          kernels::batch_norm_statistics(x, single, wide);
        }).starts_with("batch_norm_statistics: var: expected f32"));
  const Tensor affine = random_uniform({4}, DType::f32, *cpu, 0.5, 2, 5);
  CHECK(error_of([&] {
          kernels::batch_norm_backward_reduce(x, x, nullptr, {affine, affine, affine, affine, 1e-5}, wide, single);
        }).starts_with("batch_norm_backward_reduce: sum_dy_xhat: expected f64"));
  Tensor count = Tensor::empty({1}, DType::f32, *cpu), a = wide.clone(), b = wide.clone();
  CHECK(error_of([&] {
          kernels::batch_norm_combine(Tensor::zeros({2, 9}, DType::f32, *cpu), a, b, wide, count);
        }).starts_with("batch_norm_combine: mean: expected f32"));
  CHECK(error_of([&] {
          kernels::batch_norm_combine(Tensor::zeros({2, 9}, DType::f64, *cpu), a, b, wide, count);
        }).starts_with("batch_norm_combine: statistics: expected f64"));
}
