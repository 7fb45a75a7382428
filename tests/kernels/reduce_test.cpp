#include "kernels/reduce.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::test;

namespace {

// y[j] = sum of the x[i] whose coordinates, with those of extent 1 in y set to 0, are j.
std::vector<double> sum_reference(const std::vector<double>& x, const Shape& from, const Shape& to) {
  std::vector<double> y(static_cast<size_t>(to.numel()));
  for (size_t i = 0; i < x.size(); ++i) {
    int64_t rest = static_cast<int64_t>(i), offset = 0, stride = 1;
    for (int d = from.rank() - 1, e = to.rank() - 1; d >= 0; --d, --e) {
      const int64_t coordinate = rest % from[d];
      rest /= from[d];
      if (e < 0) continue;
      if (to[e] != 1) offset += coordinate * stride;
      stride *= to[e];
    }
    y[static_cast<size_t>(offset)] += x[i];
  }
  return y;
}

struct Sum {
  Shape from, to;
};
const std::vector<Sum> kSums = {
    {{2, 3, 5, 19}, {19}},           // a bias
    {{2, 3, 5, 19}, {2, 1, 1, 19}},  // global pooling
    {{2, 3, 5, 19}, {2, 3, 5, 1}},   // over channels
    {{2, 3, 5, 19}, {1}},
    {{2, 3, 5, 19}, {}},
    {{2, 3, 5, 19}, {1, 3, 1, 19}},
    {{2, 3, 5, 19}, {2, 1, 5, 1}},
    {{2, 3, 5, 19}, {2, 3, 5, 19}},
    {{1, 1}, {1, 1}},
    {{4, 1, 700, 3}, {3}},
    {{5000}, {1}},
    {{3, 9000}, {3, 1}},
    {{1500, 24}, {24}},
    {{2, 1100, 16}, {2, 1, 16}},
    {{2, 2500}, {2500}},
    {{3, 4096}, {1, 4096}},
    {{1, 1, 1, 7}, {1}},
    {{2100, 264}, {264}},
    {{2, 2, 2, 2, 2, 3}, {1, 2, 1, 2, 1, 3}},
};
}  // namespace

TEST_CASE("sum_to agrees with float64 for every pattern of dimensions") {
  for (const auto& device : test_devices())
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64})
      for (const auto& [from, to] : kSums) {
        if (dtype == DType::f64 && device->is_cuda()) continue;
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(from);
        CAPTURE(to);
        const Tensor x = random_normal(from, dtype, *device, {.seed = 3, .mean = 0.3});
        const std::vector<double> expected = sum_reference(to_doubles(x), from, to);
        for (const DType out : {dtype, DType::f32}) {
          Tensor y = filled_with_nan(to, out, *device);
          kernels::sum_to(x, y);
          CHECK(relative_l2(y, expected) <= tolerance(out, std::max<int64_t>(1, from.numel() / to.numel())));
        }
      }
}

TEST_CASE("sum_to counts beyond what 16 bits can, takes unaligned and empty tensors") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const Tensor ones = from_doubles({3000, 8}, std::vector<double>(24000, 1.0), DType::bf16, *device);
    Tensor sums = filled_with_nan({8}, DType::f32, *device);
    kernels::sum_to(ones, sums);
    CHECK(to_doubles(sums) == std::vector<double>(8, 3000.0));

    const Tensor shifted = random_normal({401}, DType::f32, *device).slice(1, 400).reshape({50, 8});
    kernels::sum_to(shifted, sums);
    CHECK(relative_l2(sums, sum_reference(to_doubles(shifted), {50, 8}, {8})) <= tolerance(DType::f32, 50));
    Tensor rows = filled_with_nan({50, 1}, DType::f32, *device);
    kernels::sum_to(shifted, rows);
    CHECK(relative_l2(rows, sum_reference(to_doubles(shifted), {50, 8}, {50, 1})) <= tolerance(DType::f32, 8));

    kernels::sum_to(Tensor::empty({0, 8}, DType::f32, *device), sums);
    CHECK(to_doubles(sums) == std::vector<double>(8, 0.0));
    Tensor none = Tensor::empty({0, 1}, DType::f32, *device);
    kernels::sum_to(Tensor::empty({0, 8}, DType::f32, *device), none);
  }
}

TEST_CASE("sum_to does not depend on the number of threads") {
  const auto device = Device::create("cpu");
  const Tensor x = random_normal({7, 3001, 24}, DType::f32, *device);
  std::vector<std::vector<double>> results;
  for (const int count : {1, 3}) {
    set_threads(count);
    Tensor y = Tensor::empty({7, 1, 24}, DType::f32, *device);
    kernels::sum_to(x, y);
    results.push_back(to_doubles(y));
  }
  set_threads(0);
  CHECK(results[0] == results[1]);
}

TEST_CASE("global_norm agrees with float64 over many tensors of mixed dtype") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    std::vector<Tensor> tensors;
    double sum = 0;
    for (int i = 0; i < 420; ++i) {  // more than one table of pointers
      const DType dtype = i % 5 == 1 ? DType::bf16 : (i % 5 == 2 ? DType::f16 : DType::f32);
      const int64_t n = i == 7 ? 10001 : (i == 9 ? 0 : 1 + i % 37);
      tensors.push_back(random_normal({n}, dtype, *device, {.seed = static_cast<uint64_t>(i)}));
      for (const double v : to_doubles(tensors.back())) sum += v * v;
    }
    tensors.push_back(random_normal({33}, DType::f32, *device).slice(1, 32));  // not aligned
    for (const double v : to_doubles(tensors.back())) sum += v * v;
    Tensor out = filled_with_nan({1}, DType::f32, *device);
    kernels::global_norm(tensors, out);
    CHECK(out.item() == doctest::Approx(std::sqrt(sum)).epsilon(tolerance(DType::f32, 64)));
    kernels::global_norm({}, out);
    CHECK(out.item() == 0);
  }
}

TEST_CASE("global_norm is float64 for float64") {
  const auto device = Device::create("cpu");
  Tensor out = Tensor::empty({1}, DType::f64, *device);
  kernels::global_norm({from_doubles({2}, {3, 4}, DType::f64, *device), from_doubles({1}, {12}, DType::f32, *device)},
                       out);
  CHECK(out.item() == 13);
}

TEST_CASE("count_nonfinite finds each NaN and infinity") {
  constexpr double kInf = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    std::vector<Tensor> tensors;
    std::vector<double> expected;
    for (int i = 0; i < 300; ++i) {
      const DType dtype = i % 3 == 0 ? DType::f32 : (i % 3 == 1 ? DType::bf16 : DType::f16);
      const size_t n = i == 4 ? 9001 : static_cast<size_t>(i % 11);
      std::vector<double> values(n, dtype == DType::f16 ? 65504.0 : 3e38);
      int bad = 0;
      for (size_t k = 0; k < n; k += static_cast<size_t>(2 + i % 4), ++bad)
        values[k] = bad % 3 == 0 ? kNan : (bad % 3 == 1 ? kInf : -kInf);
      tensors.push_back(from_doubles({static_cast<int64_t>(n)}, values, dtype, *device));
      expected.push_back(bad);
    }
    Tensor counts = from_doubles({300}, std::vector<double>(300, 99), DType::i32, *device);
    kernels::count_nonfinite(tensors, counts);
    CHECK(to_doubles(counts) == expected);
  }
}

TEST_CASE("sums refuse wrong arguments by name") {
  for (const auto& device : test_devices()) {
    const Tensor x = Tensor::zeros({2, 3}, DType::f32, *device);
    Tensor y = Tensor::zeros({2}, DType::f32, *device), half = Tensor::zeros({3}, DType::bf16, *device);
    Tensor counts = Tensor::zeros({2}, DType::i32, *device), one = Tensor::zeros({1}, DType::f32, *device);
    CHECK(error_of([&] { kernels::sum_to(x, y); }) ==
          "sum_to: y: expected extents equal to those of x [2,3] or 1, got [2]");
    CHECK(error_of([&] { kernels::sum_to(x, half); }) == "sum_to: y: expected f32, got bf16");
    CHECK(error_of([&] { kernels::sum_to(counts, one); }).starts_with("sum_to: x: expected f32"));
    CHECK(error_of([&] { kernels::global_norm({x}, y); }) == "global_norm: out: expected [1], got [2]");
    CHECK(error_of([&] { kernels::global_norm({x, counts}, one); }).starts_with("global_norm: tensors[1]: expected"));
    CHECK(error_of([&] { kernels::count_nonfinite({x}, counts); }) == "count_nonfinite: counts: expected [1], got [2]");
  }
}
