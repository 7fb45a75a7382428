#include "kernels/routing.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "core/error.h"
#include "tests/support/tensors.h"

namespace segrt {
namespace {
using namespace test;
using kernels::CellFlag;
using kernels::kCellFlags;

Tensor flags(Device& device, std::vector<double> values) {
  values.resize(kCellFlags);
  return from_doubles({kCellFlags}, values, DType::i32, device);
}

struct Decision {
  std::vector<double> factors, flags;
};
Decision decide(Device& device, const Shape& shape, const std::vector<double>& gates, bool fed) {
  Tensor f = flags(device, {fed ? 1.0 : 0.0});
  Tensor factors = filled_with_nan({shape[0], 1 + shape[1]}, DType::f32, device);
  kernels::route_gates(from_doubles(shape, gates, DType::f32, device), &f, factors);
  return {to_doubles(factors), to_doubles(f)};
}
}  // namespace

TEST_CASE("a cell is fed when one of its senders sends a tensor") {
  for (const auto& device : test_devices()) {
    const Tensor skipped = flags(*device, {1, 0}), executed = flags(*device, {1, 1}), unfed = flags(*device, {0, 0});
    const auto fed = [&](const std::vector<kernels::Sender>& senders) {
      Tensor f = flags(*device, {9, 9, 9, 9, 9});
      kernels::route_senders(senders, f);
      const std::vector<double> values = to_doubles(f);
      CHECK(std::vector<double>(values.begin() + 1, values.end()) == std::vector<double>(kCellFlags - 1, 0.0));
      return values[0];
    };
    CHECK(fed({{skipped, CellFlag::fed}}) == 1);  // what a skipped cell keeps is its input
    CHECK(fed({{skipped, CellFlag::executed}}) == 0);
    CHECK(fed({{unfed, CellFlag::fed}, {skipped, CellFlag::executed}}) == 0);
    CHECK(fed({{unfed, CellFlag::fed}, {skipped, CellFlag::executed}, {executed, CellFlag::executed}}) == 1);
  }
}

TEST_CASE("gates decide for samples and for the batch") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const float g = 0.25f;
    {  // one sample closed, the other open on two of three paths
      const Decision d = decide(*device, {2, 3}, {0, 0, 0, g, 0, 0.5}, true);
      CHECK(d.factors == std::vector<double>{1, 0, 0, 0, 0, g, 0, 0.5});
      CHECK(d.flags == std::vector<double>{1, 1, 1, 0, 1});
    }
    {  // all below the threshold: skipped, and the small gate does not count
      const Decision d = decide(*device, {1, 2}, {5e-5, 2e-5}, true);
      CHECK(d.factors == std::vector<double>{1, 0, 0});
      CHECK(d.flags == std::vector<double>{1, 0, 0, 0, 0});
    }
    {  // each sample below it, the batch not: executed, and both keep their input as well
      const Decision d = decide(*device, {2, 1}, {6e-5, 6e-5}, true);
      CHECK(d.factors == std::vector<double>{1, 6e-5f, 1, 6e-5f});
      CHECK(d.flags == std::vector<double>{1, 1, 1, 0, 0});
    }
    {  // without input there is nothing to keep
      const Decision d = decide(*device, {1, 2}, {0, 0}, false);
      CHECK(d.factors == std::vector<double>{0, 0, 0});
      CHECK(d.flags == std::vector<double>{0, 0, 0, 0, 0});
    }
    // In training there are no flags and no skipping.
    Tensor factors = filled_with_nan({2, 3}, DType::f32, *device);
    kernels::route_gates(from_doubles({2, 2}, {0, 5e-5, 0.5, 0}, DType::f32, *device), nullptr, factors);
    CHECK(to_doubles(factors) == std::vector<double>{1, 0, 5e-5f, 0, 0.5, 0});
    Tensor dgates = filled_with_nan({2, 2}, DType::f32, *device);
    kernels::route_gates_backward(from_doubles({2, 3}, {9, 1, 2, 9, 3, 4}, DType::f32, *device), dgates);
    CHECK(to_doubles(dgates) == std::vector<double>{1, 2, 3, 4});
  }
}

TEST_CASE("expected cost: the largest gate pays for the body, each gate for its path") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    // Three cells of 1, 3 and 2 gates; powers of two, so that every sum is exact.
    const kernels::RoutingCosts costs{from_doubles({4}, {0, 1, 4, 6}, DType::i32, *device),
                                      from_doubles({3}, {8, 16, 32}, DType::f32, *device),
                                      from_doubles({6}, {1, 2, 4, 8, 16, 32}, DType::f32, *device)};
    const std::vector<double> gates{0.5, 0.25, 0.75, 0.75, 0, 0, /*second sample*/ 0, 0, 0, 1, 0.125, 0.5};
    Tensor e = filled_with_nan({2}, DType::f32, *device);
    const Tensor g = from_doubles({2, 6}, gates, DType::f32, *device);
    kernels::expected_cost(g, costs, e);
    CHECK(to_doubles(e) ==
          std::vector<double>{0.5 * 8 + 0.75 * 16 + 0.5 + 0.5 + 3 + 6, 16 + 0.5 * 32 + 8 + 0.125 * 16 + 0.5 * 32});
    Tensor dg = filled_with_nan({2, 6}, DType::f32, *device);
    kernels::expected_cost_backward(from_doubles({2}, {1, 2}, DType::f32, *device), g, costs, dg);
    // Of equal gates the first is the largest.
    CHECK(to_doubles(dg) == std::vector<double>{9, 2, 20, 8, 48, 32, /*second*/ 18, 4, 8, 48, 32, 128});
  }
}

TEST_CASE("routing kernels refuse what does not fit") {
  const auto device = Device::create("cpu");
  Tensor f = flags(*device, {}), factors = Tensor::zeros({2, 3}, DType::f32, *device);
  CHECK(error_of([&] { kernels::route_senders({}, f); }).find("1 to 3") != std::string::npos);
  CHECK(error_of([&] {
          kernels::route_gates(Tensor::zeros({2, 4}, DType::f32, *device), &f, factors);
        }).find("[N,1..3]") != std::string::npos);
  CHECK(error_of([&] { kernels::route_gates(Tensor::zeros({2, 3}, DType::f32, *device), &f, factors); }) != "");
}

}  // namespace segrt
