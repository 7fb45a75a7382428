#include "train/checkpoint.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>
#include <vector>

#include "core/error.h"
#include "core/open_weights.h"
#include "nn/state.h"

namespace segrt::train {
namespace fs = std::filesystem;
namespace {
constexpr const char* kFormat = "segrt checkpoint 1";

const std::string& metadata_of(const WeightFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end())
    throw FileError(file.path() + ": no \"" + key +
                    "\" in its metadata: not a checkpoint of a training run of segrt; name a configuration (--config)");
  return found->second;
}

nlohmann::json card_json(const DatasetCard& card) {
  return {{"mean", card.mean}, {"std", card.std}, {"classes", card.classes.names}, {"colours", card.classes.colours}};
}

bool is_training_state(const std::string& name) { return name.starts_with(kTrainPrefix); }

bool holds_averages(const WeightFile& file) {
  return std::any_of(file.entries().begin(), file.entries().end(),
                     [](const WeightEntry& e) { return e.name.starts_with(kWeightsPrefix); });
}

std::string not_loaded(const fs::path& path, const nn::LoadReport& report) {
  return fmt::format("{}: loaded {} tensors, but not all fit the model:{}", path.string(), report.loaded,
                     report.differences());
}

// Whether the file holds this network's weights rather than those of one that it can start from (a classifier, say).
// Where neither is there whole, the better fit says which of the two was meant.
bool is_of_this_network(models::Model& model, const WeightFile& file) {
  int64_t own = 0, own_found = 0, start = 0, start_found = 0;
  for (const auto& entry : model.state()) {
    if (entry.parameter == nullptr) continue;
    ++own;
    own_found += file.contains(entry.path);
    const std::string name = model.pretrained_name(entry.path);
    start += !name.empty();
    start_found += !name.empty() && file.contains(name);
  }
  if (own_found == own) return true;
  return start_found < start && own_found > start_found;
}

// A parameter with one row a class, of which the file has another number; all else of its shape is the same.
bool differs_in_classes(models::Model& model, const std::string& name, const WeightFile& file) {
  for (const auto& entry : model.state()) {
    if (entry.path != name || entry.parameter == nullptr) continue;
    const Tensor& own = entry.parameter->var.value();
    const std::vector<int64_t>& found = file.entry(name).shape;
    if (own.dim(0) != model.classes() || found.size() != static_cast<size_t>(own.rank())) return false;
    const int64_t row = own.numel() / own.dim(0);
    int64_t elements = 1;
    for (const int64_t n : found) elements *= n;
    return found[0] * row == elements;
  }
  return false;
}
}  // namespace

void save_checkpoint(const fs::path& path, models::Model& model, const Optimizer& optimizer, const Progress& progress,
                     const Config& config, const DatasetCard& card, const WeightAverage* average) {
  const std::unique_ptr<Device> host = Device::create("cpu");
  std::vector<NamedTensor> tensors = average != nullptr ? average->state(*host) : nn::state_dict(model, *host);
  if (average != nullptr)
    for (NamedTensor& t : nn::state_dict(model, *host))
      tensors.push_back({kWeightsPrefix + t.name, std::move(t.tensor)});
  for (NamedTensor& t : optimizer.state(*host)) tensors.push_back({kTrainPrefix + t.name, std::move(t.tensor)});
  const nlohmann::json json{{"epoch", progress.epoch},
                            {"batch", progress.batch},
                            {"step", progress.step},
                            {"best_score", progress.best_score},
                            {"best_epoch", progress.best_epoch},
                            {"step_images", progress.step_images},
                            {"train_seconds", progress.train_seconds}};
  write_safetensors(path.string(), tensors,
                    {{"format", kFormat},
                     {"config", config.to_toml()},
                     {"progress", json.dump()},
                     {"dataset", card_json(card).dump()}});
}

Progress load_checkpoint(const fs::path& path, models::Model& model, Optimizer& optimizer, WeightAverage* average) {
  if (is_torch(weight_format(path.string())))
    throw FileError(path.string() +
                    ": is a PyTorch file; only segrt's own checkpoints hold what resuming a training needs. To start a "
                    "new training from its weights, set train.pretrained");
  const SafetensorsFile file(path.string());
  if (metadata_of(file, "format") != kFormat)
    throw FileError(path.string() + ": expected \"" + kFormat + "\", got \"" + metadata_of(file, "format") + "\"");
  Progress p;
  try {
    const nlohmann::json json = nlohmann::json::parse(metadata_of(file, "progress"));
    json.at("epoch").get_to(p.epoch);
    json.at("batch").get_to(p.batch);
    json.at("step").get_to(p.step);
    json.at("best_score").get_to(p.best_score);
    json.at("best_epoch").get_to(p.best_epoch);
    p.step_images = json.value("step_images", int64_t{0});  // absent in files of one process
    json.at("train_seconds").get_to(p.train_seconds);
  } catch (const nlohmann::json::exception& e) {
    throw FileError(path.string() + ": its \"progress\" is damaged: " + e.what());
  }
  nn::load_state(model, file, {.ignore = is_training_state});
  if (average != nullptr) average->restart();
  if (holds_averages(file)) nn::load_state(model, file, {.prefix = kWeightsPrefix});
  optimizer.load(file, kTrainPrefix);
  return p;
}

bool has_averages(const fs::path& path) { return holds_averages(*open_weight_file(path.string())); }

std::string load_weights(const fs::path& path, models::Model& model, bool strict) {
  const std::unique_ptr<WeightFile> file = open_weights(path.string());
  const nn::LoadReport report = nn::load_state(model, *file, {.ignore = is_training_state, .strict = strict});
  return report.fits() ? "" : not_loaded(path, report);
}

std::string load_pretrained(const fs::path& path, models::Model& model, bool strict) {
  const std::unique_ptr<WeightFile> file = open_weights(path.string());
  const bool same = is_of_this_network(model, *file);
  nn::LoadOptions options;
  options.strict = strict;
  options.ignore = is_training_state;
  if (same) {
    options.may_mismatch = [&](const std::string& name) { return differs_in_classes(model, name, *file); };
  } else {
    options.file_name = [&](const std::string& name) { return model.pretrained_name(name); };
    options.ignore = [&](const std::string& name) { return is_training_state(name) || model.ignores_pretrained(name); };
  }
  const nn::LoadReport report = nn::load_state(model, *file, options);
  std::string text = fmt::format("started from {}: {} tensors", path.string(), report.loaded);
  constexpr size_t kNamed = 4;
  const size_t named = std::min(report.kept.size(), kNamed);
  if (named > 0)
    text +=
        fmt::format("; left as initialised: {}{}", fmt::join(report.kept.begin(), report.kept.begin() + named, ", "),
                    report.kept.size() > named ? fmt::format(" and {} more", report.kept.size() - named) : "");
  if (!report.fits()) text += "\n" + not_loaded(path, report);
  return text;
}

DatasetCard checkpoint_card(const fs::path& path) {
  const std::unique_ptr<WeightFile> opened = open_weight_file(path.string());
  const WeightFile& file = *opened;
  DatasetCard card;
  try {
    const nlohmann::json json = nlohmann::json::parse(metadata_of(file, "dataset"));
    json.at("mean").get_to(card.mean);
    json.at("std").get_to(card.std);
    json.at("classes").get_to(card.classes.names);
    json.at("colours").get_to(card.classes.colours);
  } catch (const nlohmann::json::exception& e) {
    throw FileError(path.string() + ": its \"dataset\" is damaged: " + e.what());
  }
  const size_t colours = card.classes.colours.size();
  if (colours == 0)  // classes of whole images
    card.classes.ignore_index = -1;
  else if (card.classes.names.size() != colours)
    throw FileError(path.string() + ": its \"dataset\" has more names than colours, or fewer");
  return card;
}

Config checkpoint_config(const fs::path& path, std::span<const std::string> overrides) {
  const std::unique_ptr<WeightFile> file = open_weight_file(path.string());
  return Config::parse(metadata_of(*file, "config"), path.string(), overrides);
}

fs::path RunDirectory::numbered(int64_t step) const {
  return path_ / "checkpoints" / fmt::format("step_{:08}.safetensors", step);
}

void RunDirectory::create(const Config& config) const {
  std::error_code error;
  fs::create_directories(path_ / "checkpoints", error);
  if (error) throw FileError(path_.string() + ": cannot create the run directory: " + error.message());
  std::ofstream out(RunDirectory::config());
  out << config.to_toml();
  if (!out.flush()) throw FileError(RunDirectory::config().string() + ": cannot write");
}

void RunDirectory::publish(int64_t step, bool is_best, int keep) const {
  std::error_code error;
  const auto failed = [&](const fs::path& file, const char* what) {
    if (error) throw FileError(file.string() + ": cannot " + what + ": " + error.message());
  };
  // Replaced by a rename each, so that a reader, or a run killed here, finds the old file or the new one.
  const fs::path link = latest().string() + ".new";
  fs::remove(link, error);
  fs::create_symlink(numbered(step).filename(), link, error);
  failed(link, "link");
  fs::rename(link, latest(), error);
  failed(latest(), "replace");
  if (is_best) {
    const fs::path copy = best().string() + ".new";
    fs::copy_file(numbered(step), copy, fs::copy_options::overwrite_existing, error);
    failed(copy, "write");
    fs::rename(copy, best(), error);
    failed(best(), "replace");
  }
  std::vector<fs::path> numbered_files;
  for (const auto& entry : fs::directory_iterator(path_ / "checkpoints"))
    if (entry.path().filename().string().starts_with("step_") && entry.path().extension() == ".safetensors")
      numbered_files.push_back(entry.path());
  std::sort(numbered_files.begin(), numbered_files.end());
  for (size_t i = 0; i + static_cast<size_t>(keep) < numbered_files.size(); ++i) fs::remove(numbered_files[i], error);
}

RunLock::RunLock(const RunDirectory& run) {
  std::error_code failure;
  fs::create_directories(run.path(), failure);
  const std::string path = (run.path() / ".lock").string();
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) throw FileError(path + ": cannot create: " + std::system_category().message(errno));
  if (flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
  const int reason = errno;
  close(fd_);
  if (reason == EWOULDBLOCK) throw FileError(run.path().string() + ": another process is training in this folder");
  throw FileError(path + ": cannot lock: " + std::system_category().message(reason));
}

RunLock::~RunLock() { close(fd_); }

std::optional<RunDirectory> newest_run(const fs::path& runs) {
  std::optional<RunDirectory> newest;
  fs::file_time_type newest_time;
  std::error_code error;
  for (fs::directory_iterator it(runs, error), end; !error && it != end; it.increment(error)) {
    const RunDirectory run(it->path());
    std::error_code missing;
    const auto time = fs::last_write_time(run.latest(), missing);
    if (missing || (newest && time <= newest_time)) continue;
    newest = run;
    newest_time = time;
  }
  return newest;
}

fs::path find_checkpoint(const fs::path& run_or_file) {
  if (!fs::is_directory(run_or_file)) {
    if (!fs::exists(run_or_file)) throw FileError(run_or_file.string() + ": no such file or run directory");
    return run_or_file;
  }
  const RunDirectory run(run_or_file);
  if (fs::exists(run.best())) return run.best();
  if (fs::exists(run.latest())) return run.latest();
  throw FileError(run_or_file.string() + ": holds no checkpoint (checkpoints/best.safetensors or latest.safetensors)");
}

}  // namespace segrt::train
