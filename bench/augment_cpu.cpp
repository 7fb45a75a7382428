// Times the steps of the recipe scale_crop_distort on one CPU thread, as a loader's worker runs them: a 1024x1024 crop
// of a 1024x2048 image, by the ratio of the resize. Prints the minimum and median ms of CPU time, which other programs
// on the machine disturb less than the time on the wall.
//
//   bench_augment_cpu [--repeat N]
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ctime>
#include <functional>
#include <vector>

#include "core/parallel.h"
#include "data/opencv_resize.h"
#include "data/scale_crop_distort.h"
#include "data/synthetic.h"

namespace {
using namespace segrt;

void report(const std::string& step, int repeat, const std::function<void()>& f) {
  f();
  std::vector<double> ms;
  for (int i = 0; i < repeat; ++i) {
    const std::clock_t begin = std::clock();
    f();
    ms.push_back(1e3 * static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
  }
  std::sort(ms.begin(), ms.end());
  fmt::print("{:<34} {:8.2f} {:8.2f}\n", step, ms.front(), ms[ms.size() / 2]);
}

void run(int repeat) {
  const data::SyntheticStreets streets({.size = 1, .height = 1024, .width = 2048, .seed = 1});
  const data::Sample sample = streets.load(0);
  const data::ScaleCropDistort recipe({.base = {1024, 2048}, .crop_height = 1024, .crop_width = 1024});
  fmt::print("{:<34} {:>8} {:>8}   ms for 1024x1024 of 1024x2048\n", "step", "min", "median");
  data::Image crop(1024, 1024, 3);
  for (const double ratio : {0.5, 0.75, 1.0, 1.5, 2.0}) {
    const data::ImageSize size = data::fitted_size(1024, 2048, data::scaled_size({1024, 2048}, ratio));
    const data::Window window{0, 0, std::min(size.height, 1024), std::min(size.width, 1024)};
    report(fmt::format("resize {}", ratio), repeat,
           [&] { data::opencv_resize(sample.image, size, window, true, crop); });
  }
  const auto distort = [&](const char* step, const data::PhotometricDraws& draws) {
    report(step, repeat, [&] { data::distort(crop, {1024, 1024}, draws); });
  };
  distort("brightness", {.brightness = 3});
  distort("saturation", {.saturation = 1.01});
  distort("hue", {.hue = 1});
  distort("all four", {.brightness = 1, .contrast = 1.01, .saturation = 0.99, .hue = 1});
  for (const double ratio : {0.5, 1.0, 2.0}) {
    data::ScaleCropDistort::Options options = recipe.options();
    options.min_ratio = options.max_ratio = ratio;
    const data::ScaleCropDistort fixed(options);
    report(fmt::format("draw {}", ratio), repeat, [&] {
      Rng rng(1, 2);
      fixed.draw(sample, rng);
    });
    for (const bool colours : {false, true})
      report(fmt::format("apply {}{}", ratio, colours ? ", all colours" : ", no colours"), repeat, [&] {
        data::ScaleCropDistort::Draws draws{.ratio = ratio, .flip = true};
        if (colours) draws.colours = {.brightness = 1, .contrast = 1.01, .saturation = 0.99, .hue = 1};
        fixed.apply(sample, draws);
      });
  }
  uint64_t stream = 0;
  report("the recipe as it comes, 20 samples", repeat, [&] {
    for (int i = 0; i < 20; ++i) {
      Rng rng(1, stream++);
      recipe.apply(sample, rng);
    }
  });
}
}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times augmentation on the CPU.", "bench_augment_cpu");
  int repeat = 15;
  app.add_option("--repeat", repeat, "timed runs a line")->capture_default_str()->check(CLI::Range(1, 1000));
  CLI11_PARSE(app, argc, argv);
  segrt::set_threads(1);
  run(repeat);
  return 0;
}
