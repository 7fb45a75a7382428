// Frames a second that the loader decodes, by number of workers: label maps are PNGs, images PNGs or JPEGs, or both
// come from the cache. Frames are procedural streets (at 1024x2048 the size of Cityscapes', at 480x360 of CamVid's
// small ones) written to a temporary folder; whole frames, batches of 1, no augmentation.
//
//   bench_loader [--workers 1,2] [--seconds S] [--json FILE]
#include <fmt/format.h>
#include <stdlib.h>
#include <time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/parallel.h"
#include "data/list_folder.h"
#include "data/loader.h"
#include "data/sample_cache.h"
#include "data/synthetic.h"
#include "data/transform.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

namespace segrt {
namespace {

namespace fs = std::filesystem;

struct Arguments {
  std::vector<int> workers{1, 2};
  double seconds = 4;
  int repeats = 3;
  std::string json;
};

struct Folder {
  fs::path path;
  Folder() {
    std::string name = (fs::temp_directory_path() / "segrt_loader_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
    path = name;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { fs::remove_all(path); }
};

// The frames as a list folder, images of one format.
std::unique_ptr<data::Dataset> make_frames(const fs::path& root, const std::string& format, int height, int width) {
  constexpr int kFrames = 8, kQuality = 90;
  const data::SyntheticStreets streets({.size = kFrames, .height = height, .width = width});
  fs::create_directories(root);
  std::ofstream images(root / "train_images.txt"), labels(root / "train_labels.txt");
  for (int i = 0; i < kFrames; ++i) {
    const data::Sample sample = streets.load(i);
    const std::string image = fmt::format("{}.{}", i, format), label = fmt::format("{}_label.png", i);
    if (format == "png")
      data::write_png(root / image, sample.image);
    else if (stbi_write_jpg((root / image).c_str(), width, height, 3, sample.image.pixels.data(), kQuality) == 0)
      throw std::runtime_error("cannot write " + image);
    data::write_png(root / label, sample.label);
    images << image << '\n';
    labels << label << '\n';
  }
  images.close();
  labels.close();
  return std::make_unique<data::ListFolder>(
      data::ListFolder::Options{.folder = root, .classes = data::cityscapes_labels(), .needs_info = false});
}

struct Rate {
  double per_second = 0, per_core_second = 0;
};

double core_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Over `seconds`, after two passes that bring the files into memory.
Rate measure(const data::Dataset& dataset, Device& device, int workers, double seconds) {
  const data::EvalTransform whole;
  data::Loader loader(dataset, whole, device, {.batch_size = 1, .workers = workers, .queue = 2 * workers});
  for (int64_t i = 0; i < 2 * dataset.size(); ++i) loader.next();
  const auto begin = std::chrono::steady_clock::now();
  const double core_begin = core_seconds();
  double passed = 0;
  int frames = 0;
  for (; passed < seconds; ++frames) {
    loader.next();
    passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  return {frames / passed, frames / (core_seconds() - core_begin)};
}

int run(const Arguments& a) {
  const auto device = Device::create("cpu");
  nlohmann::json results = nlohmann::json::array();
  fmt::print("{:<12} {:<6} {:>8} {:>10} {:>15} {:>8}\n", "width x h", "from", "workers", "frames/s", "per core second",
             "x PNG");
  for (const auto& [height, width] : {std::pair{1024, 2048}, {360, 480}}) {
    const Folder folder;
    std::vector<std::unique_ptr<data::Dataset>> sets;
    sets.push_back(make_frames(folder.path / "png", "png", height, width));
    sets.push_back(make_frames(folder.path / "jpeg", "jpg", height, width));
    const fs::path cache = data::cache_file(folder.path, *sets[0]);
    data::write_cache(*sets[0], cache, false);
    sets.push_back(std::make_unique<data::CachedDataset>(
        std::make_unique<data::ListFolder>(data::ListFolder::Options{
            .folder = folder.path / "png", .classes = data::cityscapes_labels(), .needs_info = false}),
        cache));
    const std::array<const char*, 3> names{"png", "jpeg", "cache"};
    for (const int workers : a.workers) {
      // In turns, the best of each: a neighbour on the machine slows all of them alike.
      std::array<Rate, 3> best{};
      for (int r = 0; r < a.repeats; ++r)
        for (size_t s = 0; s < names.size(); ++s) {
          const Rate rate = measure(*sets[s], *device, workers, a.seconds);
          best[s].per_second = std::max(best[s].per_second, rate.per_second);
          best[s].per_core_second = std::max(best[s].per_core_second, rate.per_core_second);
        }
      for (size_t s = 0; s < names.size(); ++s) {
        const double times = best[s].per_core_second / best[0].per_core_second;
        fmt::print("{:<12} {:<6} {:>8} {:>10.1f} {:>15.1f} {:>8.1f}\n", fmt::format("{}x{}", width, height), names[s],
                   workers, best[s].per_second, best[s].per_core_second, times);
        results.push_back({{"width", width},
                           {"height", height},
                           {"from", names[s]},
                           {"workers", workers},
                           {"frames_per_second", best[s].per_second},
                           {"frames_per_core_second", best[s].per_core_second},
                           {"times_png_per_core", times}});
      }
    }
  }
  if (!a.json.empty())
    std::ofstream(a.json) << nlohmann::json{{"benchmark", "loader"},
                                            {"seconds", a.seconds},
                                            {"repeats", a.repeats},
                                            {"results", results}}
                                 .dump(1)
                          << '\n';
  return 0;
}

}  // namespace
}  // namespace segrt

int main(int argc, char** argv) {
  CLI::App app("Times the loader.", "bench_loader");
  segrt::Arguments a;
  app.add_option("--workers", a.workers, "numbers of loader threads")->delimiter(',')->capture_default_str();
  app.add_option("--seconds", a.seconds, "of each measurement")->capture_default_str();
  app.add_option("--repeats", a.repeats, "measurements, of which the best counts")->capture_default_str();
  app.add_option("--json", a.json, "write the results to this file");
  CLI11_PARSE(app, argc, argv);
  return segrt::run(a);
}
