#include "kernels/weight_average.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::test;

namespace {
// Enough tensors for two launches, of sizes that leave tails, fill more than one block or are empty.
std::vector<Shape> awkward_shapes() {
  std::vector<Shape> shapes{{1}, {3}, {0}, {4, 3, 3, 5}, {4096}, {4097}, {2, 4099}};
  for (int64_t i = 0; i < 150; ++i) shapes.push_back({i % 7 + 1});
  return shapes;
}

struct Pair {
  kernels::AveragedTensor tensors;
  std::vector<double> average, value;
};
std::vector<Pair> pairs_of(const std::vector<Shape>& shapes, Device& device) {
  std::vector<Pair> pairs;
  for (const Shape& shape : shapes) {
    const uint64_t seed = 2 * pairs.size();
    const Tensor average = random_normal(shape, DType::f32, device, {.seed = seed + 1}),
                 value = random_normal(shape, DType::f32, device, {.seed = seed + 2});
    pairs.push_back({{average, value}, to_doubles(average), to_doubles(value)});
  }
  return pairs;
}
void run(const std::vector<Pair>& pairs, double decay, const Tensor& skip = {}) {
  std::vector<kernels::AveragedTensor> tensors;
  for (const Pair& p : pairs) tensors.push_back(p.tensors);
  kernels::average_weights(tensors, decay, skip);
}
}  // namespace

TEST_CASE("averages move towards the values by 1 - decay, on every device") {
  for (const auto& device : test_devices())
    for (const double decay : {0.0, 0.5, 0.9, 0.99996}) {
      CAPTURE(device->name());
      CAPTURE(decay);
      const std::vector<Pair> pairs = pairs_of(awkward_shapes(), *device);
      const uint64_t version = pairs[0].tensors.average.version();
      run(pairs, decay);
      CHECK(pairs[0].tensors.average.version() > version);
      for (const Pair& p : pairs) {
        CAPTURE(p.tensors.average.shape());
        const std::vector<double> found = to_doubles(p.tensors.average);
        REQUIRE(found.size() == p.average.size());
        CHECK(to_doubles(p.tensors.value) == p.value);
        for (size_t i = 0; i < found.size(); ++i) {
          const double expected = p.average[i] + (1 - decay) * (p.value[i] - p.average[i]);
          // Three roundings of numbers no larger than the two together.
          CHECK(std::abs(found[i] - expected) <=
                std::ldexp(3.0, -24) * (std::abs(p.average[i]) + std::abs(p.value[i])));
        }
      }
    }
}

TEST_CASE("a value that does not change is its own average, to the last bit, however often") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    std::vector<Pair> pairs = pairs_of({Shape{257}}, *device);
    pairs[0].tensors.average.copy_from(pairs[0].tensors.value);
    for (int i = 0; i < 20; ++i) run(pairs, 0.9997);
    CHECK(to_doubles(pairs[0].tensors.average) == pairs[0].value);
  }
}

TEST_CASE("a slice that begins between two vectors is averaged like any other") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const Tensor whole = random_normal({30}, DType::f32, *device, {.seed = 1}),
                 value = random_normal({20}, DType::f32, *device, {.seed = 2});
    const std::vector<double> before = to_doubles(whole), latest = to_doubles(value);
    std::vector<kernels::AveragedTensor> tensors{{whole.slice(5, 20), value}};
    kernels::average_weights(tensors, 0.75);
    const std::vector<double> after = to_doubles(whole);
    for (size_t i = 0; i < 30; ++i) {
      const bool inside = i >= 5 && i < 25;
      const double expected = inside ? before[i] + 0.25 * (latest[i - 5] - before[i]) : before[i];
      CHECK(std::abs(after[i] - expected) <= (inside ? 1e-6 : 0.0));
    }
  }
}

TEST_CASE("a skipped step leaves averages alone") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const std::vector<Pair> pairs = pairs_of({Shape{33}, Shape{5, 7}}, *device);
    run(pairs, 0.5, from_doubles({1}, {1}, DType::i32, *device));
    for (const Pair& p : pairs) CHECK(to_doubles(p.tensors.average) == p.average);
    run(pairs, 0.5, from_doubles({1}, {0}, DType::i32, *device));
    for (const Pair& p : pairs) CHECK(to_doubles(p.tensors.average) != p.average);
  }
}

TEST_CASE("averages of other types, shapes or decays are refused by name") {
  const auto device = Device::create("cpu");
  const Tensor x = Tensor::zeros({3}, DType::f32, *device);
  const auto refusal = [&](const Tensor& average, const Tensor& value, double decay = 0.5, const Tensor& skip = {}) {
    return error_of([&] {
      std::vector<kernels::AveragedTensor> tensors{{x, x}, {average, value}};
      kernels::average_weights(tensors, decay, skip);
    });
  };
  CHECK(refusal(x, Tensor::zeros({4}, DType::f32, *device)).find("average_weights: tensors[1]: average and value") ==
        0);
  CHECK(refusal(Tensor::zeros({3}, DType::f64, *device), x).find("average_weights: tensors[1]: average") == 0);
  CHECK(refusal(x, x, 1).find("average_weights: decay: expected a number in [0, 1), got 1") == 0);
  CHECK(refusal(x, x, -0.1).find("average_weights: decay") == 0);
  CHECK(refusal(x, x, 0.5, Tensor::zeros({1}, DType::f32, *device)).find("average_weights: skip") == 0);
  std::vector<kernels::AveragedTensor> none;
  kernels::average_weights(none, 0.5);
}
