// segdata cache CONFIG: decodes a dataset once, into files that data.cache names.
#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "apps/command_line.h"
#include "apps/segdata/commands.h"
#include "apps/segdata/progress.h"
#include "core/error.h"
#include "core/parallel.h"
#include "data/sample_cache.h"
#include "train/data_settings.h"

namespace segrt::apps {
namespace {

struct CacheArguments {
  std::string config, output;
  std::vector<std::string> splits;
  bool force = false, verify = false;
  CommonOptions common;
};

void write(const CacheArguments& a, const data::Dataset& dataset, const std::filesystem::path& file) {
  const data::CacheResult result = data::write_cache(dataset, file, a.force, progress_bar(dataset.name()));
  fmt::print("{}: {} samples, {:.1f} MB, {}{} -> {}\n", dataset.name(), result.samples,
             static_cast<double>(result.nbytes) / 1e6, result.up_to_date ? "up to date" : "written",
             result.resumed > 0 ? fmt::format(" ({} of them before)", result.resumed) : "", file.string());
}

// Damaged samples.
size_t verify(const data::Dataset& dataset, const std::filesystem::path& file) {
  const data::CacheFile cache(dataset, file);
  std::vector<std::string> damage(static_cast<size_t>(dataset.size()));
  parallel_for(dataset.size(), [&](int64_t i) { damage[static_cast<size_t>(i)] = cache.damage(i); });
  size_t damaged = 0;
  for (const std::string& what : damage) {
    if (what.empty()) continue;
    fmt::print("{}\n", what);
    ++damaged;
  }
  fmt::print("{}: {} samples, {} damaged: {}\n", dataset.name(), dataset.size(), damaged, file.string());
  return damaged;
}

int cache(const CacheArguments& a) {
  const Config config = Config::load(a.config, a.common.set);
  train::data_settings(config);  // its keys are known
  const std::string folder = a.output.empty() ? config.table("data").text("cache", {.fallback = ""}) : a.output;
  if (folder.empty())
    throw ArgumentError("cache: name the folder for it with -o, or as data.cache in the configuration");
  size_t damaged = 0;
  for (const std::string& split : a.splits) {
    const std::unique_ptr<data::Dataset> dataset =
        train::make_dataset(config, split, {.needs_info = false, .cache = false});
    const std::filesystem::path file = data::cache_file(folder, *dataset);
    if (a.verify)
      damaged += verify(*dataset, file);
    else
      write(a, *dataset, file);
  }
  config.table("data").check_unused();
  return damaged == 0 ? 0 : kExitError;
}

}  // namespace

void add_cache(CLI::App& app, std::vector<Command>& commands) {
  const auto a = std::make_shared<CacheArguments>();
  a->splits = {"train", "val"};
  CLI::App& command = *app.add_subcommand(
      "cache", "decodes a dataset into files for data.cache, from which samples are read at the speed of memory");
  command.add_option("config", a->config, "configuration, of which [data] is read")->required();
  command.add_option("-o,--output", a->output, "folder of the cache (default: data.cache)");
  command.add_option("--split", a->splits, "train, val, test or trainval; repeatable")
      ->expected(1)
      ->take_all()
      ->capture_default_str();
  command.add_flag("--force", a->force, "make it again where it is up to date");
  command.add_flag("--verify", a->verify, "compare what is there with its checksums and with the sources' times");
  add_set_option(command, a->common);
  commands.push_back({&command, [a] { return cache(*a); }});
}

}  // namespace segrt::apps
