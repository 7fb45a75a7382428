// DGMN2's attention against central differences in float64, and its position tables.
#include "autograd/deform_attention.h"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/gradcheck.h"
#include "tests/support/tensors.h"

namespace {
using namespace segrt;
using namespace segrt::autograd;
using test::random_normal;

constexpr double kBound = 1e-7;  // as in gradcheck_test.cpp

// Points lie off the pixels, where the bilinear weights have kinks: fractions in [0.1, 0.9] of whole displacements, up
// to several pixels out of the map.
Tensor smooth_offsets(const Shape& shape, Device& cpu) {
  std::vector<double> values = test::to_doubles(test::random_uniform(shape, DType::f64, cpu, 0.1, 0.9, 11));
  const std::vector<double> far = test::to_doubles(random_normal(shape, DType::f64, cpu, {.seed = 12, .std = 2}));
  for (size_t i = 0; i < values.size(); ++i) values[i] += std::floor(far[i]);
  return test::from_doubles(shape, values, DType::f64, cpu);
}
}  // namespace

TEST_CASE("deform_attention: gradients") {
  const auto cpu = Device::create("cpu");
  struct Case {
    int64_t batch, height, width;
    int heads;
  };
  for (const Case& c : {Case{1, 1, 1, 1}, Case{1, 2, 2, 2}, Case{1, 2, 3, 1}, Case{1, 3, 1, 1}}) {
    const int64_t h = c.heads;
    CAPTURE(c.height);
    CAPTURE(c.width);
    const GradcheckResult result =
        gradcheck([&](const std::vector<Var>& v) { return deform_attention(v[0], v[1], v[2], v[3], c.heads); },
                  {random_normal({c.batch, c.height, c.width, 192 * h}, DType::f64, *cpu, {.seed = 1, .std = 0.5}),
                   smooth_offsets({c.batch, c.height, c.width, 18 * h}, *cpu),
                   random_normal({c.height + 8, 64}, DType::f64, *cpu, {.seed = 2, .std = 0.125}),
                   random_normal({c.width + 8, 64}, DType::f64, *cpu, {.seed = 3, .std = 0.125})});
    CAPTURE(result.where);
    CHECK(result.worst < kBound);
  }
}

TEST_CASE("position tables are resampled along their rows") {
  const auto cpu = Device::create("cpu");
  const Var table = random_normal({15, 64}, DType::f64, *cpu);
  CHECK(resample_position_table(table, 7).value().shares_storage(table.value()));
  for (const int n : {1, 6, 12}) {
    CAPTURE(n);
    const GradcheckResult result =
        gradcheck([&](const std::vector<Var>& v) { return resample_position_table(v[0], n); }, {table.value()});
    CAPTURE(result.where);
    CHECK(result.worst < kBound);
  }
  CHECK(test::error_of([&] { resample_position_table(table, 0); }).find("an extent of 1 or more") != std::string::npos);
}
