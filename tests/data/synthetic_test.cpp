#include "data/synthetic.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "core/error.h"

using namespace segrt;
using namespace segrt::data;

namespace {

constexpr int kClasses = 19;

bool same(const Sample& a, const Sample& b) { return a.image == b.image && a.label == b.label && a.name == b.name; }

// [truth][prediction]
using Confusion = std::array<std::array<int64_t, kClasses>, kClasses>;

double mean_iou(const Confusion& counts) {
  double sum = 0;
  int present = 0;
  for (size_t k = 0; k < kClasses; ++k) {
    int64_t truth = 0, predicted = 0;
    for (size_t j = 0; j < kClasses; ++j) truth += counts[k][j], predicted += counts[j][k];
    const int64_t both = truth + predicted - counts[k][k];
    if (both == 0) continue;
    sum += static_cast<double>(counts[k][k]) / static_cast<double>(both);
    ++present;
  }
  return sum / present;
}

// What a pixel's colour and place may say about its class, learnt from scenes 0.. and tried on others of another seed.
struct Corpus {
  std::vector<Sample> train, val;
};
Corpus corpus() {
  const SyntheticStreets train({.size = 48, .height = 96, .width = 192, .seed = 1});
  const SyntheticStreets val({.size = 24, .height = 96, .width = 192, .seed = 2});
  Corpus corpus;
  for (int64_t i = 0; i < train.size(); ++i) corpus.train.push_back(train.load(i));
  for (int64_t i = 0; i < val.size(); ++i) corpus.val.push_back(val.load(i));
  return corpus;
}

// f(image, label, pixel number)
template <typename F>
void for_each_pixel(const std::vector<Sample>& samples, const F& f) {
  for (const Sample& sample : samples)
    for (size_t p = 0; p < sample.label.pixels.size(); ++p)
      if (sample.label.pixels[p] < kClasses) f(&sample.image.pixels[3 * p], sample.label.pixels[p], p);
}

template <typename Predict>
double score(const std::vector<Sample>& samples, const Predict& predict) {
  Confusion counts{};
  for_each_pixel(samples, [&](const uint8_t* rgb, size_t label, size_t p) { ++counts[label][predict(rgb, p)]; });
  return mean_iou(counts);
}

// The most frequent class of each of `cells` groups of pixels.
template <typename Cell>
std::vector<size_t> majority(const std::vector<Sample>& samples, size_t cells, const Cell& cell) {
  std::vector<std::array<int64_t, kClasses>> counts(cells, std::array<int64_t, kClasses>{});
  for_each_pixel(samples, [&](const uint8_t* rgb, size_t label, size_t p) { ++counts[cell(rgb, p)][label]; });
  std::vector<size_t> best;
  for (const auto& c : counts) best.push_back(static_cast<size_t>(std::max_element(c.begin(), c.end()) - c.begin()));
  return best;
}

}  // namespace

TEST_CASE("a synthetic scene depends on seed and index alone") {
  const SyntheticStreets::Options options{.size = 12, .height = 64, .width = 128, .seed = 9};
  const SyntheticStreets streets(options), again(options);
  std::vector<Sample> samples;
  for (int64_t i = 0; i < streets.size(); ++i) samples.push_back(streets.load(i));
  for (int64_t i = streets.size() - 1; i >= 0; --i) CHECK(same(again.load(i), samples[static_cast<size_t>(i)]));

  std::vector<Sample> from_threads(samples.size());
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (size_t i = t; i < samples.size(); i += 4) from_threads[i] = streets.load(static_cast<int64_t>(i));
    });
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < samples.size(); ++i) CHECK(same(from_threads[i], samples[i]));

  for (size_t i = 1; i < samples.size(); ++i) CHECK_FALSE(samples[i].label == samples[i - 1].label);
  SyntheticStreets::Options other = options;
  other.seed = 10;
  CHECK_FALSE(SyntheticStreets(other).load(0).label == samples[0].label);
  other = options;
  other.first = 5;  // a window on the same sequence
  CHECK(same(SyntheticStreets(other).load(2), samples[7]));
}

TEST_CASE("synthetic scenes have the size asked for, whatever it is") {
  for (const auto& [height, width] : {std::pair{16, 16}, {17, 31}, {96, 192}, {120, 64}, {33, 257}}) {
    CAPTURE(height);
    CAPTURE(width);
    const SyntheticStreets streets({.size = 3, .height = height, .width = width, .seed = 4});
    for (int64_t i = 0; i < 3; ++i) {
      const Sample sample = streets.load(i);
      CHECK(sample.image.height == height);
      CHECK(sample.image.width == width);
      CHECK(sample.image.channels == 3);
      CHECK(sample.label.height == height);
      CHECK(sample.label.width == width);
      CHECK(sample.label.channels == 1);
      CHECK(std::all_of(sample.label.pixels.begin(), sample.label.pixels.end(),
                        [](uint8_t k) { return k < kClasses || k == 255; }));
    }
  }
}

TEST_CASE("a scene is the same street at every resolution") {
  const SyntheticStreets coarse({.size = 6, .height = 96, .width = 192, .seed = 3});
  const SyntheticStreets fine({.size = 6, .height = 288, .width = 576, .seed = 3});
  int64_t equal = 0, all = 0;
  for (int64_t i = 0; i < 6; ++i) {
    const Image a = coarse.load(i).label, b = fine.load(i).label;
    for (int y = 0; y < 96; ++y)
      for (int x = 0; x < 192; ++x, ++all) equal += a.row(y)[x] == b.row(3 * y + 1)[3 * x + 1];
  }
  CHECK(static_cast<double>(equal) / static_cast<double>(all) > 0.95);  // the rest are boundary pixels
}

TEST_CASE("all classes appear, streets are upright, and the published statistics hold") {
  constexpr int64_t kScenes = 120;
  const SyntheticStreets streets({.size = kScenes, .height = 96, .width = 192, .seed = 21});
  std::array<double, 256> pixels{}, rows{};
  std::array<double, 3> sum{}, squares{};
  for (int64_t i = 0; i < kScenes; ++i) {
    const Sample sample = streets.load(i);
    for (int y = 0; y < 96; ++y)
      for (int x = 0; x < 192; ++x) {
        const uint8_t k = sample.label.row(y)[x];
        ++pixels[k];
        rows[k] += y;
        for (size_t c = 0; c < 3; ++c) {
          const double v = sample.image.row(y)[3 * x + static_cast<int>(c)] / 255.0;
          sum[c] += v;
          squares[c] += v * v;
        }
      }
  }
  const double all = kScenes * 96.0 * 192.0;
  for (size_t k = 0; k < kClasses; ++k) {
    CAPTURE(streets.classes().names[k]);
    CHECK(pixels[k] / all > 0.0003);
    CHECK(pixels[k] / all < 0.45);
  }
  CHECK(pixels[255] / all > 0.005);
  CHECK(pixels[255] / all < 0.10);
  // Sky over houses over cars over the road.
  const auto mean_row = [&](size_t k) { return rows[k] / pixels[k]; };
  CHECK(mean_row(10) < mean_row(2));
  CHECK(mean_row(2) < mean_row(13));
  CHECK(mean_row(13) < mean_row(0));
  for (size_t c = 0; c < 3; ++c) {  // scenes differ in exposure, so 120 of them leave some scatter
    const double mean = sum[c] / all;
    CHECK(std::abs(mean - streets.mean()[c]) < 0.03);
    CHECK(std::abs(std::sqrt(squares[c] / all - mean * mean) - streets.std()[c]) < 0.03);
  }
  CHECK(streets.classes() == cityscapes_labels());
  CHECK(streets.has_labels());
}

TEST_CASE("neither colour nor place alone solves the synthetic streets") {
  const Corpus scenes = corpus();

  const std::vector<size_t> most = majority(scenes.train, 1, [](const uint8_t*, size_t) { return size_t{0}; });
  const double by_majority = score(scenes.val, [&](const uint8_t*, size_t) { return most[0]; });

  std::array<std::array<double, 4>, kClasses> sums{};
  for_each_pixel(scenes.train, [&](const uint8_t* rgb, size_t label, size_t) {
    for (size_t c = 0; c < 3; ++c) sums[label][c] += rgb[c];
    ++sums[label][3];
  });
  const double by_mean_colour = score(scenes.val, [&](const uint8_t* rgb, size_t) {
    size_t best = 0;
    double nearest = std::numeric_limits<double>::max();
    for (size_t k = 0; k < kClasses; ++k) {
      double distance = 0;
      for (size_t c = 0; c < 3; ++c) {
        const double d = rgb[c] - sums[k][c] / sums[k][3];
        distance += d * d;
      }
      if (distance < nearest) nearest = distance, best = k;
    }
    return best;
  });

  // The best that colour can do: the most frequent class of each of 12^3 colours; and of each colour in each place.
  const auto colour_cell = [](const uint8_t* rgb, size_t) {
    return static_cast<size_t>((rgb[0] * 12 / 256 * 12 + rgb[1] * 12 / 256) * 12 + rgb[2] * 12 / 256);
  };
  const std::vector<size_t> of_colour = majority(scenes.train, 12 * 12 * 12, colour_cell);
  const double by_colour =
      score(scenes.val, [&](const uint8_t* rgb, size_t p) { return of_colour[colour_cell(rgb, p)]; });

  const auto place_cell = [](const uint8_t*, size_t p) { return p / 192 / 8 * 24 + p % 192 / 8; };
  const std::vector<size_t> of_place = majority(scenes.train, 12 * 24, place_cell);
  const double by_place = score(scenes.val, [&](const uint8_t* rgb, size_t p) { return of_place[place_cell(rgb, p)]; });

  MESSAGE("mIoU by majority class " << by_majority << ", nearest mean colour " << by_mean_colour
                                    << ", colour histogram " << by_colour << ", place " << by_place);
  CHECK(by_majority < 0.03);
  CHECK(by_mean_colour < 0.10);
  CHECK(by_colour < 0.15);
  CHECK(by_place < 0.20);
}

TEST_CASE("SyntheticStreets refuses options and indices out of range") {
  using Options = SyntheticStreets::Options;
  CHECK_THROWS_WITH_AS(SyntheticStreets(Options{.size = 0}), "SyntheticStreets: size expects at least 1, got 0",
                       ArgumentError);
  CHECK_THROWS_WITH_AS(SyntheticStreets(Options{.height = 8}), "SyntheticStreets: height expects 16 to 16384, got 8",
                       ArgumentError);
  CHECK_THROWS_WITH_AS(SyntheticStreets(Options{.width = 16385}), doctest::Contains("width expects"), ArgumentError);
  CHECK_THROWS_WITH_AS(SyntheticStreets(Options{.first = -1}), doctest::Contains("first expects"), ArgumentError);
  CHECK_THROWS_WITH_AS(SyntheticStreets(Options{.difficulty = 1.5}),
                       doctest::Contains("difficulty expects 0 to 1, got 1.5"), ArgumentError);
  CHECK_THROWS_AS(SyntheticStreets(Options{.difficulty = std::nan("")}), ArgumentError);
  const SyntheticStreets streets(Options{.size = 2, .height = 32, .width = 64});
  CHECK_THROWS_WITH_AS(streets.load(2), "SyntheticStreets: index expects 0 to 1, got 2", ArgumentError);
  CHECK_THROWS_AS(streets.load(-1), ArgumentError);
}
