#include "kernels/gate.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "tests/support/tensors.h"

namespace segrt {
namespace {
using namespace test;

DType values_dtype(DType map) { return map == DType::f64 ? DType::f64 : DType::f32; }

struct Case {
  Shape y;
  int64_t slots;
};
const Case kCases[] = {
    {{1, 1, 1, 1}, 1},    {{2, 3, 5, 19}, 3},   {{3, 7, 4, 32}, 2},
    {{1, 9, 11, 33}, 3},  {{2, 2, 3, 1100}, 3},  // > a block
    {{2, 41, 43, 40}, 2},                        // on CUDA in two launches
};

// The layer of a case, and its results on the device.
struct Gate {
  Gate(const Case& c, DType dtype, Device& device, double bias_mean = 0)
      : y(random_normal(c.y, dtype, device, {.mean = 0.5})),
        weight(random_normal({c.slots, 1, 1, c.y[3]}, values_dtype(dtype), device,
                             {.seed = 2, .std = 1 / std::sqrt(static_cast<double>(c.y[3]))})),
        bias(random_normal({c.slots}, values_dtype(dtype), device, {.seed = 3, .mean = bias_mean})),
        pooled(filled_with_nan({c.y[0], c.y[3]}, values_dtype(dtype), device)),
        z(filled_with_nan({c.y[0], c.slots}, values_dtype(dtype), device)),
        g(filled_with_nan({c.y[0], c.slots}, values_dtype(dtype), device)) {}
  void forward() { kernels::gate_forward(y, weight, bias, pooled, z, g); }

  Tensor y, weight, bias, pooled, z, g;
};

std::vector<double> means(const Tensor& y) {
  const std::vector<double> values = to_doubles(y);
  const int64_t pixels = y.dim(1) * y.dim(2), channels = y.dim(3);
  std::vector<double> mean(static_cast<size_t>(y.dim(0) * channels));
  for (int64_t i = 0; i < y.numel(); ++i)
    mean[static_cast<size_t>(i / (pixels * channels) * channels + i % channels)] +=
        values[static_cast<size_t>(i)] / static_cast<double>(pixels);
  return mean;
}
}  // namespace

TEST_CASE("the gate agrees with float64 on every device") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Case& c : kCases) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(c.y);
        const int64_t batch = c.y[0], channels = c.y[3], pixels = c.y[1] * c.y[2];
        const DType values = values_dtype(dtype);
        Gate gate(c, dtype, *device);
        gate.forward();
        const std::vector<double> mean = means(gate.y), weight = to_doubles(gate.weight), bias = to_doubles(gate.bias),
                                  z = to_doubles(gate.z), g = to_doubles(gate.g);
        CHECK(relative_l2(gate.pooled, mean) <= tolerance(values, pixels));
        for (int64_t n = 0; n < batch; ++n)
          for (int64_t s = 0; s < c.slots; ++s) {
            double sum = bias[static_cast<size_t>(s)], size = std::abs(sum);  // size: what roundings are relative to
            for (int64_t k = 0; k < channels; ++k) {
              const double product =
                  weight[static_cast<size_t>(s * channels + k)] * mean[static_cast<size_t>(n * channels + k)];
              sum += product;
              size += std::abs(product);
            }
            const auto at = static_cast<size_t>(n * c.slots + s);
            CHECK(std::abs(z[at] - sum) <= tolerance(values, pixels) * size);
            // The slope of tanh is at most 1.
            CHECK(std::abs(g[at] - std::max(std::tanh(sum), 0.0)) <= tolerance(values, pixels) * (size + 1));
          }
      }
}

TEST_CASE("the gate's gradients agree with float64 on every device") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Case& c : kCases) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(c.y);
        const int64_t batch = c.y[0], channels = c.y[3], pixels = c.y[1] * c.y[2], slots = c.slots;
        const DType values = values_dtype(dtype);
        Gate gate(c, dtype, *device, 0.5);
        gate.forward();
        const Tensor dg = random_normal({batch, slots}, values, *device, {.seed = 5});
        Tensor dy = filled_with_nan(c.y, dtype, *device),
               dweight = filled_with_nan(gate.weight.shape(), values, *device),
               dbias = filled_with_nan({slots}, values, *device);
        kernels::gate_backward(dg, gate.pooled, gate.g, gate.weight, &dy, &dweight, &dbias);

        const std::vector<double> d = to_doubles(dg), g = to_doubles(gate.g), mean = to_doubles(gate.pooled),
                                  weight = to_doubles(gate.weight);
        std::vector<double> dy_row(static_cast<size_t>(batch * channels)), dw(weight.size()),
            db(static_cast<size_t>(slots)), dy_all(static_cast<size_t>(c.y.numel()));
        for (int64_t n = 0; n < batch; ++n)
          for (int64_t s = 0; s < slots; ++s) {
            const auto at = static_cast<size_t>(n * slots + s);
            const double dz = g[at] > 0 ? d[at] * (1 - g[at] * g[at]) : 0;
            db[static_cast<size_t>(s)] += dz;
            for (int64_t k = 0; k < channels; ++k) {
              const auto nk = static_cast<size_t>(n * channels + k), sk = static_cast<size_t>(s * channels + k);
              dw[sk] += dz * mean[nk];
              dy_row[nk] += dz * weight[sk] / static_cast<double>(pixels);
            }
          }
        for (int64_t i = 0; i < c.y.numel(); ++i)
          dy_all[static_cast<size_t>(i)] =
              dy_row[static_cast<size_t>(i / (pixels * channels) * channels + i % channels)];
        CHECK(relative_l2(dy, dy_all) <= tolerance(dtype, 2 * slots));
        CHECK(relative_l2(dweight, dw) <= tolerance(values, 2 * batch));
        CHECK(relative_l2(dbias, db) <= tolerance(values, 2 * batch));

        Tensor alone = filled_with_nan(gate.weight.shape(), values, *device);
        kernels::gate_backward(dg, gate.pooled, gate.g, gate.weight, nullptr, &alone, nullptr);
        CHECK(to_doubles(alone) == to_doubles(dweight));
      }
}

TEST_CASE("a closed gate is exactly 0 and lets no gradient through, nor does z = 0") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const Tensor y = random_normal({2, 3, 3, 8}, DType::f32, *device);
    const Tensor weight = Tensor::zeros({2, 1, 1, 8}, DType::f32, *device);
    const Tensor bias = from_doubles({2}, {-0.25, 0}, DType::f32, *device);
    Tensor pooled = Tensor::empty({2, 8}, DType::f32, *device);
    Tensor z = Tensor::empty({2, 2}, DType::f32, *device), g = Tensor::like(z);
    kernels::gate_forward(y, weight, bias, pooled, z, g);
    CHECK(to_doubles(z) == std::vector<double>{-0.25, 0, -0.25, 0});
    CHECK(to_doubles(g) == std::vector<double>(4, 0.0));
    const Tensor dg = random_normal({2, 2}, DType::f32, *device),
                 ones = random_normal({2, 1, 1, 8}, DType::f32, *device);
    Tensor dy = filled_with_nan(y.shape(), DType::f32, *device),
           dweight = filled_with_nan({2, 1, 1, 8}, DType::f32, *device),
           dbias = filled_with_nan({2}, DType::f32, *device);
    kernels::gate_backward(dg, pooled, g, ones, &dy, &dweight, &dbias);
    CHECK(to_doubles(dy) == std::vector<double>(144, 0.0));
    CHECK(to_doubles(dweight) == std::vector<double>(16, 0.0));
    CHECK(to_doubles(dbias) == std::vector<double>(2, 0.0));
  }
}

TEST_CASE("a NaN in the map opens no gate: it shows") {
  for (const auto& device : test_devices()) {
    std::vector<double> values(2 * 6, 1.0);
    values[7] = std::numeric_limits<double>::quiet_NaN();
    const Tensor y = from_doubles({2, 2, 3, 1}, values, DType::f32, *device);
    const Tensor weight = from_doubles({1, 1, 1, 1}, {1}, DType::f32, *device),
                 bias = Tensor::zeros({1}, DType::f32, *device);
    Tensor pooled = Tensor::empty({2, 1}, DType::f32, *device);
    Tensor z = Tensor::empty({2, 1}, DType::f32, *device), g = Tensor::like(z);
    kernels::gate_forward(y, weight, bias, pooled, z, g);
    CHECK(to_doubles(g)[0] == doctest::Approx(std::tanh(1.0)));
    CHECK(std::isnan(to_doubles(g)[1]));
  }
}

TEST_CASE("the gate does not depend on the number of threads") {
  const auto device = Device::create("cpu");
  std::vector<std::vector<double>> results;
  for (const int count : {1, 3}) {
    set_threads(count);
    Gate gate({{2, 61, 67, 32}, 3}, DType::f32, *device);
    gate.forward();
    results.push_back(to_doubles(gate.z));
  }
  set_threads(0);
  CHECK(results[0] == results[1]);
}

TEST_CASE("an empty batch has no gates, and its parameters no gradient") {
  for (const auto& device : test_devices()) {
    Gate gate({{0, 2, 2, 4}, 2}, DType::f32, *device);
    gate.forward();
    Tensor dweight = filled_with_nan(gate.weight.shape(), DType::f32, *device),
           dbias = filled_with_nan({2}, DType::f32, *device), dy = Tensor::like(gate.y);
    kernels::gate_backward(Tensor::like(gate.g), gate.pooled, gate.g, gate.weight, &dy, &dweight, &dbias);
    CHECK(to_doubles(dweight) == std::vector<double>(8, 0.0));
    CHECK(to_doubles(dbias) == std::vector<double>(2, 0.0));
  }
}

TEST_CASE("the gate names what is wrong") {
  const auto device = Device::create("cpu");
  Gate gate({{2, 3, 3, 4}, 2}, DType::f32, *device);
  CHECK(error_of([&] {
          Gate({{2, 3, 3, 4}, 4}, DType::f32, *device).forward();
        }) == "gate: weight: expected 1 to 3 slots, got 4");
  CHECK(error_of([&] {
          Gate({{2, 0, 3, 4}, 2}, DType::f32, *device).forward();
        }) == "gate: y: a map without pixels or channels has no mean");
  Tensor z = Tensor::empty({2, 3}, DType::f32, *device);
  CHECK(error_of([&] { kernels::gate_forward(gate.y, gate.weight, gate.bias, gate.pooled, z, gate.g); }) ==
        "gate: z: expected [2,2], got [2,3]");
  const Tensor half = Tensor::empty({2}, DType::f16, *device);
  CHECK(error_of([&] { kernels::gate_forward(gate.y, gate.weight, half, gate.pooled, gate.z, gate.g); }) ==
        "gate: bias: expected f32, got f16");
  Tensor dy = Tensor::empty({2, 3, 3, 4}, DType::f64, *device);
  CHECK(error_of([&] { kernels::gate_backward(gate.g, gate.pooled, gate.g, gate.weight, &dy, nullptr, nullptr); }) ==
        "gate_backward: dy: expected f64 with f64 dg, and only so");
}

}  // namespace segrt
