#include "data/batch_mix.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <vector>

using namespace segrt;
using namespace segrt::data;

namespace {
// Kolmogorov's distance of 20000 draws from a distribution function; above 1.95 / sqrt(n) = 0.0138 once in a thousand.
double distance(double a, double b, const std::function<double(double)>& cdf) {
  Rng rng(5, 6);
  std::vector<double> draws(20000);
  for (double& v : draws) v = draw_beta(a, b, rng);
  std::sort(draws.begin(), draws.end());
  double worst = 0;
  for (size_t i = 0; i < draws.size(); ++i) {
    const auto n = static_cast<double>(draws.size()), k = static_cast<double>(i);
    worst = std::max({worst, std::abs(cdf(draws[i]) - k / n), std::abs(cdf(draws[i]) - (k + 1) / n)});
  }
  return worst;
}
}  // namespace

TEST_CASE("batch mix: beta variates have their distributions") {
  CHECK(distance(1, 1, [](double x) { return x; }) < 0.0138);
  CHECK(distance(2, 2, [](double x) { return x * x * (3 - 2 * x); }) < 0.0138);
  CHECK(distance(0.5, 0.5, [](double x) { return 2 / std::numbers::pi * std::asin(std::sqrt(x)); }) < 0.0138);
  CHECK(distance(1, 3, [](double x) { return 1 - std::pow(1 - x, 3); }) < 0.0138);
  // The density of Beta(0.8, 0.8), integrated by substitution x = t^5 (no pole left at 0), up to 1/2 and mirrored.
  const auto cdf = [](double x) {
    const auto mass = [](double end) {
      constexpr int kSteps = 400;
      const double top = std::pow(end, 0.2);
      double sum = 0;
      for (int i = 0; i < kSteps; ++i) {
        const double t = (i + 0.5) * top / kSteps, y = std::pow(t, 5);
        sum += 5 * std::pow(t, 4) * std::pow(y * (1 - y), -0.2) * top / kSteps;
      }
      return sum;
    };
    const double half = mass(0.5);
    return x < 0.5 ? mass(x) / (2 * half) : 1 - mass(1 - x) / (2 * half);
  };
  CHECK(distance(0.8, 0.8, cdf) < 0.0138);
}

TEST_CASE("batch mix: boxes, shares, and both kinds") {
  const MixOptions options{.mixup_alpha = 0.8, .cutmix_alpha = 1};
  int cuts = 0;
  for (int64_t batch = 0; batch < 4000; ++batch) {
    const BatchMix mix = draw_mix(options, 3, 1, batch, 20, 30);
    CHECK(mix == draw_mix(options, 3, 1, batch, 20, 30));
    REQUIRE(mix.share >= 0);
    REQUIRE(mix.share <= 1);
    if (!mix.cut) continue;
    ++cuts;
    REQUIRE(mix.box.y >= 0);
    REQUIRE(mix.box.x >= 0);
    REQUIRE(mix.box.y + mix.box.height <= 20);
    REQUIRE(mix.box.x + mix.box.width <= 30);
    REQUIRE(mix.share == doctest::Approx(1 - mix.box.height * mix.box.width / 600.0));
  }
  CHECK(std::abs(cuts - 2000) < 130);  // four deviations
  CHECK_FALSE(draw_mix(options, 3, 1, 0, 20, 30) == draw_mix(options, 3, 2, 0, 20, 30));
  CHECK_FALSE(draw_mix(options, 3, 1, 0, 20, 30) == draw_mix(options, 4, 1, 0, 20, 30));
  CHECK(draw_mix({}, 3, 1, 0, 20, 30) == BatchMix{});
  for (int64_t batch = 0; batch < 20; ++batch) {
    CHECK(draw_mix({.cutmix_alpha = 1}, 3, 1, batch, 20, 30).cut);
    CHECK_FALSE(draw_mix({.mixup_alpha = 1}, 3, 1, batch, 20, 30).cut);
  }
}
