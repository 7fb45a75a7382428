// segeval [RUN|CHECKPOINT]: scores a network on labelled images.
#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "apps/command_line.h"
#include "core/error.h"
#include "train/checkpoint.h"
#include "train/evaluator.h"
#include "train/settings.h"

namespace {
using namespace segrt;
namespace fs = std::filesystem;

struct Arguments {
  std::string checkpoint, config, split = "val", predictions, overlays, json;
  bool ms = false, flip = false;
  int64_t limit = 0;
  apps::CommonOptions common;
};

fs::path picture_path(const std::string& folder, const std::string& sample) {
  return fs::path(folder) / fs::path(sample).relative_path().replace_extension(".png");
}

void write_json(const std::string& path, const Arguments& a, const train::Evaluator::Result& result,
                const data::LabelTable& table) {
  const auto number = [](double v) { return std::isfinite(v) ? nlohmann::json(v) : nlohmann::json(nullptr); };
  nlohmann::json classes = nlohmann::json::array();
  for (size_t c = 0; c < result.scores.iou.size(); ++c)
    classes.push_back({{"name", table.names[c]},
                       {"iou", number(result.scores.iou[c])},
                       {"accuracy", number(result.scores.accuracy[c])}});
  nlohmann::json measured = nlohmann::json::object();
  for (const auto& m : result.measured)
    measured[m.name] = {{"mean", number(m.mean)}, {"min", number(m.min)}, {"max", number(m.max)}};
  const nlohmann::json json{{"checkpoint", a.checkpoint},
                            {"split", a.split},
                            {"multi_scale", a.ms},
                            {"flip", a.flip},
                            {"images", result.images},
                            {"seconds", result.seconds},
                            {"miou", number(result.scores.miou)},
                            {"macc", number(result.scores.macc)},
                            {"aacc", number(result.scores.aacc)},
                            {"measured", measured},
                            {"classes", classes},
                            {"confusion", result.confusion}};
  std::ofstream out(path);
  out << json.dump(2) << '\n';
  if (!out.flush()) throw FileError(path + ": cannot write");
}

int evaluate(Arguments& a) {
  if (a.checkpoint.empty()) {
    const auto run = train::newest_run("runs");
    if (!run) throw FileError("runs: no training run here; name a run directory or a checkpoint");
    a.checkpoint = run->path().string();
  }
  a.checkpoint = train::find_checkpoint(a.checkpoint).string();
  const std::unique_ptr<Device> device = apps::open_device(a.common);
  const apps::LoadedModel loaded = apps::load_model(a.checkpoint, a.config, a.common.set, *device);
  const train::EvalSettings settings = train::eval_settings(loaded.config);
  const std::unique_ptr<data::Dataset> dataset = train::make_dataset(loaded.config, a.split);
  const train::TrainSettings training = train::train_settings(loaded.config);  // the precision; and its keys are known
  train::data_settings(loaded.config);
  train::validate_settings(loaded.config);
  loaded.config.check_unused();
  if (dataset->classes().size() != loaded.model->classes())
    throw ConfigError(fmt::format("{}: {} has {} classes, the model {}", a.checkpoint, dataset->name(),
                                  dataset->classes().size(), loaded.model->classes()));

  train::Evaluator::Options options = train::evaluation_options(settings, a.ms, a.flip);
  options.precision = training.precision;
  options.mean = dataset->mean();
  options.std = dataset->std();
  train::Evaluator evaluator(*loaded.model, options);
  const int64_t total = a.limit > 0 ? std::min(a.limit, dataset->size()) : dataset->size();
  fmt::print("{} on {}: {} images of {} ({}){}{}\n", a.checkpoint, device->description(), total, dataset->name(),
             a.split, a.ms ? ", multi-scale" : "", a.flip ? ", mirrored" : "");
  const bool terminal = isatty(STDERR_FILENO) == 1;
  const auto result =
      evaluator.evaluate(*dataset, a.limit, [&](int64_t i, const data::Sample& sample, const data::Image& prediction) {
        if (!a.predictions.empty()) data::write_png(picture_path(a.predictions, sample.name), prediction);
        if (!a.overlays.empty())
          data::write_png(picture_path(a.overlays, sample.name),
                          data::overlay(sample.image, prediction, dataset->classes()));
        if (terminal) fmt::print(stderr, "\r{}/{}{}", i + 1, total, i + 1 == total ? "\r\x1b[K" : "");
      });
  for (const auto& m : result.measured)
    fmt::print("{}: mean {:.4f}, min {:.4f}, max {:.4f}\n", m.name, m.mean, m.min, m.max);
  if (!dataset->has_labels()) {
    fmt::print("no labels: {} predictions in {:.1f} s\n", result.images, result.seconds);
    return 0;
  }
  fmt::print("{}\n", train::scores_table(result.scores, dataset->classes().names, result.confusion));
  const auto floor = train::majority_scores(result.confusion, loaded.model->classes());
  fmt::print("for comparison, always saying the most frequent class: mIoU {:.2f} %, aAcc {:.2f} %\n", 100 * floor.miou,
             100 * floor.aacc);
  fmt::print("{} images in {:.1f} s, {:.2f} images/s\n", result.images, result.seconds,
             static_cast<double>(result.images) / result.seconds);
  if (!a.json.empty()) write_json(a.json, a, result, dataset->classes());
  return 0;
}
}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Evaluates a trained segmentation network.", "segeval");
  Arguments a;
  app.add_option("checkpoint", a.checkpoint, "run directory or checkpoint file (default: the latest run under runs/)");
  app.add_option("--config", a.config, "configuration, for weight files that carry none");
  app.add_option("--split", a.split, "which images: train, val or test")->capture_default_str();
  app.add_flag("--ms", a.ms, "multi-scale: combine the maps of all scales or sizes of [eval]");
  app.add_flag("--flip", a.flip, "add the mirrored image at every scale");
  app.add_option("--limit", a.limit, "at most so many images; 0: all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app.add_option("--save-predictions", a.predictions, "write class-index PNGs into this folder");
  app.add_option("--save-overlays", a.overlays, "write pictures of image and prediction into this folder");
  app.add_option("--json", a.json, "write the scores and the confusion matrix to this file");
  apps::add_device_options(app, a.common);
  apps::add_set_option(app, a.common);
  return apps::run_program(app, argc, argv, [&] { return evaluate(a); });
}
