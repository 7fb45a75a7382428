#include "tests/tools/segrt_golden/sensitivity.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/random.h"
#include "tests/support/tensors.h"

namespace segrt::golden {
namespace {
constexpr uint64_t kNetworks = 3;
constexpr double kRoom = 10;

void move_parameters(models::Model& model, uint64_t seed) {
  Rng rng(seed, 0);
  model.visit_parameters([&](const std::string&, nn::Parameter& p) {
    Tensor value = p.var.value();
    std::vector<float> values = value.to_vector<float>();
    for (float& v : values) {
      const float towards =
          rng.next_u32() % 2 == 0 ? std::numeric_limits<float>::infinity() : -std::numeric_limits<float>::infinity();
      v = std::nextafter(v, towards);
    }
    value.copy_from(Tensor::from<float>(value.shape(), values, value.device()));
  });
}
}  // namespace

double Sensitivity::allowed(const std::string& name, const std::vector<double>& expected, double stated, double most,
                            const Error& error) {
  const std::vector<double>& exact = exact_.at(name);
  if (exact.size() != expected.size() || error(exact, expected) <= stated) return stated;
  for (uint64_t seed = moved_.size() + 1; seed <= kNetworks; ++seed) {
    const std::unique_ptr<models::Model> model = build_();
    move_parameters(*model, seed);
    moved_.push_back(compute_(*model));
  }
  double largest = 0;
  for (const Results& moved : moved_) largest = std::max(largest, error(moved.at(name), exact));
  return std::clamp(kRoom * largest, stated, std::max(stated, most));
}

double Sensitivity::max_error(const std::string& name, const std::vector<double>& expected, double stated,
                              double most) {
  return allowed(name, expected, stated, most, [](const auto& got, const auto& wanted) {
    double worst = 0;
    for (size_t i = 0; i < wanted.size(); ++i)
      if (!std::isnan(got[i]) && !std::isnan(wanted[i]))
        worst = std::max(worst, std::abs(got[i] - wanted[i]) / std::max(1.0, std::abs(wanted[i])));
    return worst;
  });
}

double Sensitivity::relative_l2(const std::string& name, const std::vector<double>& expected, double stated,
                                double most) {
  return allowed(name, expected, stated, most,
                 [](const auto& got, const auto& wanted) { return test::relative_l2(got, wanted); });
}

double Sensitivity::entries(const std::string& name, const std::vector<double>& expected, double floor, double stated,
                            double most) {
  return allowed(name, expected, stated, most, [floor](const auto& got, const auto& wanted) {
    double worst = 0;
    for (size_t i = 0; i < wanted.size(); ++i)
      worst = std::max(worst, std::abs(got[i] - wanted[i]) / (std::abs(wanted[i]) + floor));
    return worst;
  });
}

double Sensitivity::median(const std::string& name, const std::vector<double>& expected, double stated, double most) {
  return allowed(name, expected, stated, most,
                 [](const auto& got, const auto& wanted) { return median_relative_error(got, wanted); });
}

double median_relative_error(const std::vector<double>& got, const std::vector<double>& expected) {
  std::vector<double> errors;
  for (size_t i = 0; i < expected.size(); ++i) errors.push_back(std::abs(got[i] - expected[i]) / std::abs(expected[i]));
  if (errors.empty()) return 0;
  const auto middle = errors.begin() + static_cast<int64_t>(errors.size() / 2);
  std::nth_element(errors.begin(), middle, errors.end());
  return *middle;
}

}  // namespace segrt::golden
