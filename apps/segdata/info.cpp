// segdata info CONFIG: what a dataset holds. segdata stats CONFIG: the same as info.json, which data folders are read
// with.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "apps/command_line.h"
#include "apps/segdata/commands.h"
#include "apps/segdata/progress.h"
#include "core/atomic_file.h"
#include "core/error.h"
#include "data/dataset_info.h"
#include "data/statistics.h"
#include "train/data_settings.h"

namespace segrt::apps {
namespace {

void print_triple(const char* what, const std::array<double, 3>& mean, const std::array<double, 3>& deviation) {
  fmt::print("{:<12} mean {:.4f} {:.4f} {:.4f}  std {:.4f} {:.4f} {:.4f}\n", what, mean[0], mean[1], mean[2],
             deviation[0], deviation[1], deviation[2]);
}

void print_classes(const data::DatasetStatistics& s, const data::LabelTable& classes) {
  int64_t total = s.ignored;
  for (const int64_t n : s.pixels) total += n;
  const auto percent = [&](int64_t n) {
    return total > 0 ? 100.0 * static_cast<double>(n) / static_cast<double>(total) : 0;
  };
  fmt::print("{:>5}  {:<16} {:>14} {:>9} {:>8}\n", "class", "name", "pixels", "share", "images");
  for (size_t k = 0; k < s.pixels.size(); ++k)
    fmt::print("{:>5}  {:<16} {:>14} {:>8.3f}% {:>8}\n", k, classes.names[k], s.pixels[k], percent(s.pixels[k]),
               s.images_with[k]);
  fmt::print("{:>5}  {:<16} {:>14} {:>8.3f}%\n", classes.ignore_index, "ignored", s.ignored, percent(s.ignored));
}

// The most frequent sizes; a collection of photos has thousands.
void print_sizes(const data::DatasetStatistics& s) {
  constexpr size_t kShown = 10;
  std::vector<std::pair<std::pair<int, int>, int64_t>> sizes(s.sizes.begin(), s.sizes.end());
  if (sizes.size() > kShown)
    std::stable_sort(sizes.begin(), sizes.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  for (size_t i = 0; i < std::min(sizes.size(), kShown); ++i) {
    const auto& [size, count] = sizes[i];
    fmt::print("{:<12} {} images (width x height)\n", fmt::format("{}x{}", size.second, size.first), count);
  }
  if (sizes.size() > kShown) fmt::print("and {} other sizes\n", sizes.size() - kShown);
}

void print_class_images(const data::DatasetStatistics& s, const data::LabelTable& classes) {
  fmt::print("{:>5}  {:<24} {:>8}\n", "class", "name", "images");
  for (size_t k = 0; k < s.images_with.size(); ++k)
    fmt::print("{:>5}  {:<24} {:>8}\n", k, classes.names[k], s.images_with[k]);
}

void print_labels(const data::Dataset& dataset, const data::DatasetStatistics& s) {
  if (!dataset.has_labels()) return;
  dataset.is_classification() ? print_class_images(s, dataset.classes()) : print_classes(s, dataset.classes());
}

struct InfoArguments {
  std::string config, split = "train";
  int64_t limit = 0;
  CommonOptions common;
};

int info(const InfoArguments& a) {
  const Config config = Config::load(a.config, a.common.set);
  train::data_settings(config);  // its keys are known
  const std::unique_ptr<data::Dataset> dataset = train::make_dataset(config, a.split);
  config.table("data").check_unused();
  const data::DatasetStatistics s = data::statistics_of(*dataset, a.limit, progress_bar(dataset->name()));
  fmt::print("{} ({}): {} images", dataset->name(), a.split, dataset->size());
  if (s.images < dataset->size()) fmt::print(", the first {} of them read", s.images);
  fmt::print("{}\n", dataset->has_labels() ? "" : ", no labels");
  print_sizes(s);
  print_triple("measured", s.mean, s.std);
  print_triple("in use", dataset->mean(), dataset->std());
  print_labels(*dataset, s);
  return 0;
}

struct StatsArguments {
  std::string config, split = "train", output = "info.json";
  int64_t limit = 0, sample = 0;
  uint64_t seed = 1;
  bool force = false;
  CommonOptions common;
};

int write_stats(const StatsArguments& a) {
  const auto require_free = [&] {  // before the work, and again after it
    if (!a.force && std::filesystem::exists(a.output))
      throw FileError(a.output + ": exists already; add --force to replace it, or name another file with -o");
  };
  require_free();
  const Config config = Config::load(a.config, a.common.set);
  train::data_settings(config);  // its keys are known
  const std::unique_ptr<data::Dataset> dataset = train::make_dataset(config, a.split, {.needs_info = false});
  config.table("data").check_unused();
  const auto progress = progress_bar(dataset->name());
  const data::DatasetStatistics s =
      a.sample > 0 ? data::statistics_of(*dataset, data::random_samples(dataset->size(), a.sample, a.seed), progress)
                   : data::statistics_of(*dataset, a.limit, progress);
  const std::string text = data::dataset_info(*dataset, s);
  require_free();
  AtomicFile file(a.output);
  file.write(text);
  file.commit();
  fmt::print("{} ({}): {} of {} images read\n", dataset->name(), a.split, s.images, dataset->size());
  print_triple("measured", s.mean, s.std);
  print_labels(*dataset, s);
  fmt::print("-> {}\n", a.output);
  return 0;
}

void add_stats(CLI::App& app, std::vector<Command>& commands) {
  const auto s = std::make_shared<StatsArguments>();
  CLI::App& stats =
      *app.add_subcommand("stats", "writes info.json: mean and std of the images, and how often each class is in them");
  stats.add_option("config", s->config, "configuration, of which [data] is read")->required();
  stats.add_option("--split", s->split, "which images: train, val, test or trainval")->capture_default_str();
  stats.add_option("-o,--output", s->output, "file to write")->capture_default_str();
  CLI::Option* const stats_limit = stats.add_option("--limit", s->limit, "the first so many images; 0: all")
                                       ->capture_default_str()
                                       ->check(CLI::NonNegativeNumber);
  stats.add_option("--sample", s->sample, "so many random images (DRN's published figures: 500)")
      ->check(CLI::PositiveNumber)
      ->excludes(stats_limit);
  stats.add_option("--seed", s->seed, "of --sample")->capture_default_str();
  stats.add_flag("--force", s->force, "replace the file where it exists");
  add_set_option(stats, s->common);
  commands.push_back({&stats, [s] { return write_stats(*s); }});
}

}  // namespace

void add_info(CLI::App& app, std::vector<Command>& commands) {
  const auto a = std::make_shared<InfoArguments>();
  CLI::App& information =
      *app.add_subcommand("info", "number of images, sizes, mean and std, and class histogram of a dataset");
  information.add_option("config", a->config, "configuration, of which [data] is read")->required();
  information.add_option("--split", a->split, "which images: train, val, test or trainval")->capture_default_str();
  information.add_option("--limit", a->limit, "at most so many images; 0: all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  add_set_option(information, a->common);
  commands.push_back({&information, [a] { return info(*a); }});
  add_stats(app, commands);
}

}  // namespace segrt::apps
