#include "apps/command_line.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <filesystem>

#include "core/communicator.h"
#include "core/error.h"
#include "core/parallel.h"
#include "train/checkpoint.h"
#include "train/precision.h"

namespace segrt::apps {

void add_device_options(CLI::App& app, CommonOptions& options) {
  app.add_option("--device", options.device, "cpu, cuda, cuda:<index>, or auto (cuda where there is one)")
      ->capture_default_str();
  app.add_option("--threads", options.threads, "CPU threads; 0: all cores")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
}

void add_set_option(CLI::App& app, CommonOptions& options) {
  app.add_option("--set", options.set, "override a setting of the configuration, e.g. --set train.lr=0.02; repeatable")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
}

std::unique_ptr<Device> open_device(const CommonOptions& options) {
  set_threads(options.threads);
  std::string spec = options.device;
  if (spec == "auto") spec = Device::cuda_available() ? "cuda" : "cpu";
  // One process a GPU: of several on one machine each takes its own of those that they see. Where a process sees one
  // alone, somebody has dealt them out: Slurm's --gpus-per-task.
  if (spec == "cuda" && Communicator::launched() > 1 && Device::cuda_count() > 1)
    spec += ":" + std::to_string(Communicator::local_rank());
  return Device::create(spec);
}

int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body) {
  const std::string name = app.get_name();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? 0 : kExitUsage;
  }
  try {
    return body();
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}: error: {}\n", name, e.what());
    std::fflush(stderr);
    Communicator::abort_all(kExitError);  // others may wait for this one
    return kExitError;
  }
}

std::vector<int64_t> parse_sizes(const std::string& option, const std::string& text, size_t count) {
  std::vector<int64_t> sizes;
  const char* at = text.data();
  const char* end = at + text.size();
  while (at < end) {
    int64_t value = 0;
    const auto [next, status] = std::from_chars(at, end, value);
    if (status != std::errc{} || value < 1 || value > (1 << 20)) break;
    sizes.push_back(value);
    at = next;
    if (at < end && (*at == 'x' || *at == 'X') && at + 1 < end)
      ++at;
    else
      break;
  }
  if (at != end || sizes.size() != count)
    throw ArgumentError(fmt::format("{}: expected {} sizes like 1x512x1024, got \"{}\"", option, count, text));
  return sizes;
}

void add_strict_option(CLI::App& app, bool& no_strict) {
  app.add_flag("--no-strict,!--strict", no_strict,
               "load the weights that fit and list the others; without it (--strict), weights that are missing, "
               "unexpected or of another shape are an error");
}

Config model_config(const std::string& checkpoint, const std::string& config_path,
                    const std::vector<std::string>& overrides) {
  return config_path.empty() ? train::checkpoint_config(checkpoint, overrides) : Config::load(config_path, overrides);
}

LoadedModel load_model(const std::string& checkpoint, const std::string& config_path,
                       const std::vector<std::string>& overrides, Device& device, bool strict) {
  Config config = model_config(checkpoint, config_path, overrides);
  train::set_f32_products(device, train::precision_setting(config).tf32);
  nn::Init init(device, 0);
  auto model = models::build(config.table("model"), init);
  const std::string differences = train::load_weights(checkpoint, *model, strict);
  if (!differences.empty()) fmt::print(stderr, "warning: {}\n", differences);
  model->set_training(false);
  return {std::move(config), std::move(model)};
}

train::DatasetCard dataset_card(const std::string& checkpoint, const std::string& config_path, const Config& config) {
  return config_path.empty() ? train::checkpoint_card(checkpoint) : train::configured_card(config);
}

std::string unique_stem(const std::string& path, std::set<std::string>& taken) {
  const std::string own = std::filesystem::path(path).stem().string();
  std::string stem = own;
  for (int n = 2; !taken.insert(stem).second; ++n) stem = fmt::format("{}-{}", own, n);
  return stem;
}

void refuse_for_classifier(const std::string& model, const std::vector<std::pair<std::string, bool>>& given) {
  for (const auto& [option, is_set] : given)
    if (is_set) throw ArgumentError(fmt::format("{}: for segmentation networks; {} is a classifier", option, model));
}

}  // namespace segrt::apps
