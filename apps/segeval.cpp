// segeval [RUN|CHECKPOINT]: scores a segmentation network or a classifier on labelled images.
#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "apps/command_line.h"
#include "apps/profile_options.h"
#include "apps/segeval/classes.h"
#include "apps/segeval/predictions.h"
#include "core/communicator.h"
#include "core/error.h"
#include "train/checkpoint.h"
#include "train/evaluator.h"
#include "train/routing_picture.h"
#include "train/settings.h"

namespace {
using namespace segrt;
namespace fs = std::filesystem;

struct Arguments {
  std::string checkpoint, config, split = "val", predictions, colours, overlays, json, routing;
  bool ms = false, flip = false;
  int64_t limit = 0;
  bool no_strict = false;
  apps::ProfileOptions profile;
  apps::CommonOptions common;
};

nlohmann::json number(double v) { return std::isfinite(v) ? nlohmann::json(v) : nlohmann::json(nullptr); }

// By cell: the share of images for which it ran, and the mean gates of keep, up and down; null where there is no path.
nlohmann::json routing_json(const train::RoutingShares& routes) {
  const models::Lattice& l = routes.lattice();
  nlohmann::json cells = nlohmann::json::object();
  for (int layer = 0; layer <= l.layers; ++layer)
    for (int row = 0; row < l.rows(layer); ++row) {
      const auto cell = static_cast<size_t>(l.index(layer, row));
      nlohmann::json gates{routes.gate(cell, 0), nullptr, nullptr};
      size_t slot = 1;
      if (l.goes_up(layer, row)) gates[1] = routes.gate(cell, slot++);
      if (l.goes_down(layer, row)) gates[2] = routes.gate(cell, slot);
      cells[l.cell_name(layer, row)] = {{"executed", routes.executed(cell)}, {"gates", gates}};
    }
  return {{"images", routes.samples()}, {"cells", cells}};
}

// routes: null for a network without. Scores of images without labels are null.
void write_json(const Arguments& a, const train::Evaluator::Result& result, const data::LabelTable& table,
                const train::RoutingShares* routes) {
  nlohmann::json classes = nlohmann::json::array();
  for (size_t c = 0; c < result.scores.iou.size(); ++c)
    classes.push_back({{"name", table.names[c]},
                       {"iou", number(result.scores.iou[c])},
                       {"accuracy", number(result.scores.accuracy[c])}});
  nlohmann::json measured = nlohmann::json::object();
  for (const auto& m : result.measured)
    measured[m.name] = {{"mean", number(m.mean)}, {"min", number(m.min)}, {"max", number(m.max)}};
  nlohmann::json json{{"checkpoint", a.checkpoint},
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
  if (routes != nullptr) json["routing"] = routing_json(*routes);
  std::ofstream out(a.json);
  out << json.dump(2) << '\n';
  if (!out.flush()) throw FileError(a.json + ": cannot write");
}

void save_pictures(const Arguments& a, const data::Dataset& dataset, const data::Sample& sample,
                   const data::Image& prediction) {
  const fs::path picture = fs::path(sample.name).relative_path().replace_extension(".png");
  if (!a.colours.empty())
    data::write_png(fs::path(a.colours) / picture, data::colourise(prediction, dataset.classes()));
  if (!a.overlays.empty())
    data::write_png(fs::path(a.overlays) / picture, data::overlay(sample.image, prediction, dataset.classes()));
}

void print_scores(const train::Evaluator::Result& result, const data::LabelTable& table) {
  fmt::print("{}\n", train::scores_table(result.scores, table.names, result.confusion));
  const auto floor = train::majority_scores(result.confusion, table.size());
  fmt::print("for comparison, always saying the most frequent class: mIoU {:.2f} %, aAcc {:.2f} %\n", 100 * floor.miou,
             100 * floor.aacc);
  fmt::print("{} images in {:.1f} s, {:.2f} images/s\n", result.images, result.seconds,
             static_cast<double>(result.images) / result.seconds);
}

// The dataset of --split, which must fit the network. All keys of the configuration are known after this.
std::unique_ptr<data::Dataset> open_dataset(const Arguments& a, const apps::LoadedModel& loaded) {
  std::unique_ptr<data::Dataset> dataset = train::make_dataset(loaded.config, a.split);
  train::eval_settings(loaded.config);
  train::train_settings(loaded.config);
  train::data_settings(loaded.config);
  train::validate_settings(loaded.config);
  loaded.config.check_unused();
  if (dataset->classes().size() != loaded.model->classes())
    throw ConfigError(fmt::format("{}: {} has {} classes, the model {}", a.checkpoint, dataset->name(),
                                  dataset->classes().size(), loaded.model->classes()));
  const bool classifies = loaded.model->task() == models::Task::classification;
  if (dataset->is_classification() != classifies)
    throw ConfigError(fmt::format("{}: {} {}", a.checkpoint, dataset->name(),
                                  classifies ? "has label maps, but the model is a classifier"
                                             : "has a class for each image, but the model segments"));
  return dataset;
}

// What is collected in one process cannot be shared out among several.
void refuse_for_several(const Communicator& processes, const std::vector<std::pair<std::string, bool>>& given) {
  for (const auto& [option, is_set] : given)
    if (processes.size() > 1 && is_set)
      throw ArgumentError(fmt::format("{}: for one process, here are {}", option, processes.size()));
}

void evaluate_segmentation(const Arguments& a, const apps::LoadedModel& loaded, const data::Dataset& dataset,
                           Device& device, Communicator& processes) {
  const models::DynamicRouting* network = train::routing_network(*loaded.model);
  refuse_for_several(processes, {{"--routing", !a.routing.empty()},
                                 {"--json (networks with dynamic routing)", network != nullptr && !a.json.empty()},
                                 {"--save-predictions into an archive", a.predictions.ends_with(".zip")},
                                 {"--profile", !a.profile.file.empty()}});
  const bool speaks = processes.rank() == 0;
  train::Evaluator::Options options = train::evaluation_options(train::eval_settings(loaded.config), a.ms, a.flip);
  options.precision = train::train_settings(loaded.config).precision;
  options.mean = dataset.mean();
  options.std = dataset.std();
  train::RoutingShares routes;
  if (network != nullptr && !(a.routing.empty() && a.json.empty()))
    options.after_first_pass = [&] { routes.add(network->routing()); };
  train::Evaluator evaluator(*loaded.model, options);
  const int64_t total = a.limit > 0 ? std::min(a.limit, dataset.size()) : dataset.size();
  if (speaks)
    fmt::print("{} on {}: {} images of {} ({}){}{}\n", a.checkpoint, device.description(), total, dataset.name(),
               a.split, a.ms ? ", multi-scale" : "", a.flip ? ", mirrored" : "");
  const bool terminal = speaks && isatty(STDERR_FILENO) == 1;
  apps::ProfiledRuns profiled(a.profile, device);
  apps::PredictionWriter predictions(a.predictions);
  const auto result = evaluator.evaluate(
      dataset, a.limit,
      [&](int64_t i, const data::Sample& sample, const data::Image& prediction) {
        predictions.add(dataset.prediction_file(sample.name, prediction));
        save_pictures(a, dataset, sample, prediction);
        if (terminal) fmt::print(stderr, "\r{}/{}{}", i + 1, total, i + 1 == total ? "\r\x1b[K" : "");
        profiled.next();
      },
      &processes);
  predictions.finish();
  processes.barrier();  // all pictures are there
  if (!speaks) return;
  if (!result.measured.empty()) fmt::print("{}\n", train::measured_table(result.measured));
  if (dataset.has_labels())
    print_scores(result, dataset.classes());
  else
    fmt::print("no labels: {} predictions in {:.1f} s\n", result.images, result.seconds);
  if (!a.routing.empty()) data::write_png(a.routing, train::routing_picture(routes));
  if (!a.json.empty()) write_json(a, result, dataset.classes(), network == nullptr ? nullptr : &routes);
}

int evaluate(Arguments& a) {
  if (a.checkpoint.empty()) {
    const auto run = train::newest_run("runs");
    if (!run) throw FileError("runs: no training run here; name a run directory or a checkpoint");
    a.checkpoint = run->path().string();
  }
  a.checkpoint = train::find_checkpoint(a.checkpoint).string();
  const std::unique_ptr<Device> device = apps::open_device(a.common);
  const apps::LoadedModel loaded = apps::load_model(a.checkpoint, a.config, a.common.set, *device, !a.no_strict);
  if (!a.routing.empty()) train::require_routing(*loaded.model, "--routing");
  const std::unique_ptr<Communicator> processes = Communicator::open(
      *device, {.timeout_s = loaded.config.table("train").number("comm_timeout", {.fallback = 600, .above = 0})});
  const bool classifies = loaded.model->task() == models::Task::classification;
  if (classifies) {
    refuse_for_several(*processes, {{"--routing", !a.routing.empty()}});
    apps::refuse_for_classifier(loaded.model->name(), {{"--ms", a.ms},
                                                       {"--flip", a.flip},
                                                       {"--save-predictions", !a.predictions.empty()},
                                                       {"--save-colours", !a.colours.empty()},
                                                       {"--save-overlays", !a.overlays.empty()},
                                                       {"--profile", !a.profile.file.empty()}});
  }
  const std::unique_ptr<data::Dataset> dataset = open_dataset(a, loaded);
  if (classifies)
    apps::evaluate_classes({a.checkpoint, a.split, a.json, a.routing, a.limit}, loaded, *dataset, *device, *processes);
  else
    evaluate_segmentation(a, loaded, *dataset, *device, *processes);
  return 0;
}
}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Evaluates a trained segmentation network (IoU) or classifier (top-1, top-5).", "segeval");
  Arguments a;
  app.add_option("checkpoint", a.checkpoint, "run directory or checkpoint file (default: the latest run under runs/)");
  app.add_option("--config", a.config, "configuration, for weight files that carry none");
  apps::add_strict_option(app, a.no_strict);
  app.add_option("--split", a.split, "which images: train, val or test")->capture_default_str();
  app.add_flag("--ms", a.ms, "multi-scale: combine the maps of all scales or sizes of [eval]");
  app.add_flag("--flip", a.flip, "add the mirrored image at every scale");
  app.add_option("--limit", a.limit, "at most so many images; 0: all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app.add_option(
      "--save-predictions", a.predictions,
      "write the predictions as PNGs into this folder, or into this archive if it ends in .zip: for Cityscapes label "
      "ids, named as its test server wants them (--split test); for other data class indices");
  app.add_option("--save-colours", a.colours, "write the predictions in the colours of their classes into this folder");
  app.add_option("--save-overlays", a.overlays, "write pictures of image and prediction into this folder");
  app.add_option("--json", a.json, "write scores, confusion matrix and what the network measured to this file");
  app.add_option("--routing", a.routing,
                 "write a picture of how often each cell and path was open in the first pass over the images (networks "
                 "with dynamic routing)")
      ->type_name("PNG");
  apps::add_profile_options(app, a.profile, "images after the first two");
  apps::add_device_options(app, a.common);
  apps::add_set_option(app, a.common);
  return apps::run_program(app, argc, argv, [&] { return evaluate(a); });
}
