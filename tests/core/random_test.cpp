#include "core/random.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "core/error.h"

using namespace segrt;

namespace {
using Words = std::array<uint32_t, 4>;
Words words(const Philox4& p) { return {p.v[0], p.v[1], p.v[2], p.v[3]}; }
}  // namespace

// Random123's kat_vectors, philox4x32 with 10 rounds (Salmon et al. 2011): counter, key, output.
TEST_CASE("philox: published known answers") {
  CHECK(words(philox4x32(0, 0, 0, 0, 0, 0)) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const uint32_t ones = 0xffffffff;
  CHECK(words(philox4x32(ones, ones, ones, ones, ones, ones)) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(words(philox4x32(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0)) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  // The 64-bit form puts index in the low half of the counter, stream in the high one and seed in the key.
  CHECK(words(philox(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88)) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("rng: the words of consecutive Philox blocks, in order") {
  Rng rng(11, 22);
  for (uint64_t block = 0; block < 3; ++block)
    for (const uint32_t word : words(philox(11, 22, block))) CHECK(rng.next_u32() == word);
}

TEST_CASE("rng: uniform numbers stay in range and fill it evenly") {
  CHECK(uniform_from(0) == 0.0f);
  CHECK(uniform_from(0xffffffff) == 1.0f - 0x1p-24f);
  constexpr int kBins = 64, kDraws = 200000;
  Rng rng(1, 2);
  std::array<double, kBins> counts{};
  double sum = 0, sum_squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double u = rng.uniform();
    REQUIRE((u >= 0 && u < 1));
    counts[static_cast<size_t>(u * kBins)] += 1;
    sum += u;
    sum_squares += u * u;
  }
  // Five standard errors of mean and second moment; chi-square with 63 degrees of freedom exceeds 120 once in 60000.
  CHECK(std::fabs(sum / kDraws - 0.5) < 5 * std::sqrt(1.0 / 12 / kDraws));
  CHECK(std::fabs(sum_squares / kDraws - 1.0 / 3) < 5 * std::sqrt(4.0 / 45 / kDraws));
  double chi_square = 0;
  for (const double count : counts)
    chi_square += std::pow(count - double{kDraws} / kBins, 2) / (double{kDraws} / kBins);
  CHECK(chi_square < 120);
}

TEST_CASE("rng: a uniform range excludes its upper end, however narrow") {
  Rng rng(5, 5);
  const double next = std::nextafter(1.0, 2.0);
  for (int i = 0; i < 1000; ++i) {
    REQUIRE(rng.uniform(1.0, next) == 1.0);
    const double x = rng.uniform(-3.0, 2.5);
    REQUIRE((x >= -3.0 && x < 2.5));
  }
  CHECK(rng.uniform(2.0, 2.0) == 2.0);
}

TEST_CASE("rng: integers are inclusive and unbiased") {
  Rng rng(9, 1);
  std::array<int, 7> counts{};
  constexpr int kDraws = 70000;
  for (int i = 0; i < kDraws; ++i) {
    const int64_t k = rng.integer(-3, 3);
    REQUIRE((k >= -3 && k <= 3));
    ++counts[static_cast<size_t>(k + 3)];
  }
  for (const int count : counts) CHECK(std::abs(count - kDraws / 7) < 5 * std::sqrt(kDraws / 7.0));

  // 3/4 of 2^64: a plain remainder would give the first third of the range half of all draws.
  const int64_t low = std::numeric_limits<int64_t>::min();
  const int64_t high =
      low + static_cast<int64_t>(3 * (uint64_t{1} << 61)) + static_cast<int64_t>(3 * (uint64_t{1} << 61) - 1);
  const int64_t third = low + (int64_t{1} << 62);
  int below = 0;
  for (int i = 0; i < 30000; ++i) {
    const int64_t k = rng.integer(low, high);
    REQUIRE(k <= high);
    below += k < third;
  }
  CHECK(std::abs(below - 10000) < 5 * std::sqrt(30000 * 2.0 / 9));

  CHECK(rng.integer(4, 4) == 4);
  CHECK_THROWS_AS(rng.integer(5, 4), ArgumentError);
  const int64_t max = std::numeric_limits<int64_t>::max();
  int negative = 0;
  for (int i = 0; i < 1000; ++i) negative += rng.integer(low, max) < 0;
  CHECK(std::abs(negative - 500) < 5 * std::sqrt(250.0));
  CHECK(rng.integer(max, max) == max);
}

TEST_CASE("rng: normal numbers follow the Gaussian distribution") {
  constexpr int kDraws = 50000;
  Rng rng(4, 7);
  std::vector<double> x(kDraws);
  for (double& v : x) v = rng.normal();
  std::sort(x.begin(), x.end());
  double ks = 0;  // largest distance from the distribution function (Kolmogorov-Smirnov)
  for (int i = 0; i < kDraws; ++i) {
    const double cdf = 0.5 * std::erfc(-x[static_cast<size_t>(i)] / std::sqrt(2.0));
    ks = std::max({ks, std::fabs(cdf - static_cast<double>(i) / kDraws), std::fabs(cdf - (i + 1.0) / kDraws)});
  }
  CHECK(ks < 2.2 / std::sqrt(double{kDraws}));  // exceeded once in 8000
  CHECK(std::isfinite(x.front()));
  CHECK(x.back() > 3.5);  // the tails are there
}

TEST_CASE("rng: seeds and streams are independent sequences, equal ones repeat") {
  auto first = [](uint64_t seed, uint64_t stream) {
    Rng rng(seed, stream);
    std::vector<uint32_t> sequence(8);
    for (uint32_t& word : sequence) word = rng.next_u32();
    return sequence;
  };
  CHECK(first(1, 2) == first(1, 2));
  CHECK(first(1, 2) != first(2, 1));
  CHECK(first(1, 2) != first(1, 3));
  CHECK(first(1, 2) != first(1, 2 + (uint64_t{1} << 32)));
  CHECK(first(1, 2) != first(1 + (uint64_t{1} << 32), 2));
}

TEST_CASE("stream_of: order and length matter, grids of counters do not collide") {
  CHECK(stream_of({1, 2}) != stream_of({2, 1}));
  CHECK(stream_of({1}) != stream_of({1, 0}));
  CHECK(stream_of({}) != stream_of({0}));
  CHECK(stream_of({3, 4}) == stream_of({3, 4}));
  std::set<uint64_t> seen;
  for (uint64_t epoch = 0; epoch < 100; ++epoch)
    for (uint64_t sample = 0; sample < 500; ++sample) seen.insert(stream_of({epoch, sample}));
  CHECK(seen.size() == 50000);
}
