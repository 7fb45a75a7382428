// segdata check CONFIG: what is wrong with a dataset, a line a problem.
#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "apps/command_line.h"
#include "apps/segdata/commands.h"
#include "apps/segdata/progress.h"
#include "core/error.h"
#include "data/check.h"
#include "train/data_settings.h"

namespace segrt::apps {
namespace {

struct CheckArguments {
  std::string config;
  std::vector<std::string> splits;
  bool histogram = true;
  CommonOptions common;
};

void print_histogram(const data::CheckResult& result, const data::LabelTable& classes) {
  int64_t total = result.ignored;
  for (const int64_t n : result.pixels) total += n;
  if (total == 0) return;
  const auto print = [&](int index, const std::string& name, int64_t n) {
    fmt::print("{:>5}  {:<24} {:>14} {:>8.3f}%\n", index, name, n,
               100.0 * static_cast<double>(n) / static_cast<double>(total));
  };
  for (size_t k = 0; k < result.pixels.size(); ++k) print(static_cast<int>(k), classes.names[k], result.pixels[k]);
  print(classes.ignore_index, "ignored", result.ignored);
}

// Problems of one split, printed.
size_t check_split(const CheckArguments& a, const Config& config, const std::string& split) {
  std::vector<std::string> missing;
  std::unique_ptr<data::Dataset> dataset;
  try {
    dataset = train::make_dataset(config, split, {.needs_info = false, .cache = false, .problems = &missing});
  } catch (const FileError& e) {  // nothing to read at all
    missing.emplace_back(e.what());
  }
  for (const std::string& problem : missing) fmt::print("{}\n", problem);
  if (!dataset) return missing.size();
  const data::CheckResult result = data::check_dataset(*dataset, progress_bar(dataset->name()));
  for (const std::string& problem : result.problems) fmt::print("{}\n", problem);
  const size_t problems = missing.size() + result.problems.size();
  fmt::print("{}: {} samples read, {} problems\n", dataset->name(), result.samples, problems);
  if (a.histogram && dataset->has_labels() && !dataset->is_classification())
    print_histogram(result, dataset->classes());
  return problems;
}

int check(const CheckArguments& a) {
  const Config config = Config::load(a.config, a.common.set);
  train::data_settings(config);  // its keys are known
  size_t problems = 0;
  for (const std::string& split : a.splits) problems += check_split(a, config, split);
  config.table("data").check_unused();
  return problems == 0 ? 0 : kExitError;
}

}  // namespace

void add_check(CLI::App& app, std::vector<Command>& commands) {
  const auto a = std::make_shared<CheckArguments>();
  a->splits = {"train", "val"};
  CLI::App& command = *app.add_subcommand(
      "check", "reads every file of a dataset and prints a line for each problem; exit status 1 if there is one");
  command.add_option("config", a->config, "configuration, of which [data] is read")->required();
  command.add_option("--split", a->splits, "train, val, test or trainval; repeatable")
      ->expected(1)
      ->take_all()
      ->capture_default_str();
  command.add_flag("!--no-histogram", a->histogram, "leave out how often each class occurs");
  add_set_option(command, a->common);
  commands.push_back({&command, [a] { return check(*a); }});
}

}  // namespace segrt::apps
