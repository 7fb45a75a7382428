#include "train/loss_window.h"

#include <doctest/doctest.h>

#include "tests/support/tensors.h"

using namespace segrt;

TEST_CASE("auxiliary losses are averaged over the steps that had them, on every device") {
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    const auto value = [&](float v) { return Tensor::from<float>({1}, std::vector<float>{v}, *device); };
    train::LossWindow window(*device, 4);
    CHECK(window.mean_total() == 0);
    window.add(value(1), {});
    window.add(value(2), {{"b", value(0.5f)}});
    window.add(value(6), {{"a", value(3)}, {"b", value(0.25f)}});
    CHECK(window.steps() == 3);
    CHECK(window.totals() == std::vector<float>{1, 2, 6});
    CHECK(window.mean_total() == 3);
    CHECK(window.mean_auxiliary() == std::vector<std::pair<std::string, double>>{{"b", 0.375}, {"a", 3}});
  }
}
