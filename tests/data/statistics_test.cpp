#include "data/statistics.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/error.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;

namespace {

// Two 1x2 images and one 2x2, written out below.
class ThreeImages final : public Dataset {
 public:
  const std::string& name() const override { return name_; }
  int64_t size() const override { return 3; }
  Sample load(int64_t i) const override {
    Sample s{Image(i == 2 ? 2 : 1, 2, 3), Image(i == 2 ? 2 : 1, 2, 1), "s"};
    if (i == 0) s.image.pixels = {0, 51, 255, 51, 51, 0};
    if (i == 0) s.label.pixels = {0, 1};
    if (i == 1) s.label.pixels = {1, 255};
    if (i == 2) s.label.pixels = {2, 2, 2, 9};  // 9 is no class: counted nowhere
    return s;
  }
  const LabelTable& classes() const override { return classes_; }
  std::array<double, 3> mean() const override { return {}; }
  std::array<double, 3> std() const override { return {}; }

 private:
  std::string name_ = "three";
  LabelTable classes_ = generic_labels(4);
};

}  // namespace

TEST_CASE("statistics of a dataset, counted by hand") {
  const ThreeImages dataset;
  const DatasetStatistics s = statistics_of(dataset);
  CHECK(s.images == 3);
  CHECK(s.sizes == std::map<std::pair<int, int>, int64_t>{{{1, 2}, 2}, {{2, 2}, 1}});
  CHECK(s.pixels == std::vector<int64_t>{1, 2, 3, 0});
  CHECK(s.images_with == std::vector<int64_t>{1, 2, 1, 0});
  CHECK(s.ignored == 1);
  // Red: 0, 0.2 and six zeros; green 0.2 twice; blue 1 once; of eight pixels.
  CHECK(s.mean[0] == doctest::Approx(0.2 / 8));
  CHECK(s.mean[1] == doctest::Approx(0.4 / 8));
  CHECK(s.mean[2] == doctest::Approx(1.0 / 8));
  CHECK(s.std[0] == doctest::Approx(std::sqrt(0.04 / 8 - std::pow(0.2 / 8, 2))));
  CHECK(s.std[1] == doctest::Approx(std::sqrt(0.08 / 8 - std::pow(0.4 / 8, 2))));
  CHECK(s.std[2] == doctest::Approx(std::sqrt(1.0 / 8 - 1.0 / 64)));

  int64_t calls = 0;
  const DatasetStatistics first = statistics_of(dataset, 2, [&](int64_t done, int64_t total) {
    CHECK(done == ++calls);
    CHECK(total == 2);
  });
  CHECK(calls == 2);
  CHECK(first.images == 2);
  CHECK(first.pixels == std::vector<int64_t>{1, 2, 0, 0});
}
