#include "apps/segeval/classes.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/error.h"
#include "train/classification.h"
#include "train/data_settings.h"
#include "train/routing_picture.h"
#include "train/settings.h"

namespace segrt::apps {
namespace {

nlohmann::json number(double v) { return std::isfinite(v) ? nlohmann::json(v) : nlohmann::json(nullptr); }

void write_json(const ClassEvaluation& a, const train::ClassificationScores& s, const std::vector<std::string>& names,
                double seconds) {
  nlohmann::json classes = nlohmann::json::array();
  for (size_t c = 0; c < names.size(); ++c)
    classes.push_back(
        {{"name", names[c]},
         {"images", s.class_images[c]},
         {"correct", s.class_correct[c]},
         {"accuracy", number(static_cast<double>(s.class_correct[c]) / static_cast<double>(s.class_images[c]))}});
  const nlohmann::json json{{"checkpoint", a.checkpoint},
                            {"split", a.split},
                            {"images", s.images},
                            {"seconds", seconds},
                            {"top1", s.top1_percent()},
                            {"top5", s.top5_percent()},
                            {"top1_error", 100 - s.top1_percent()},
                            {"top5_error", 100 - s.top5_percent()},
                            {"loss", number(s.mean_loss())},
                            {"classes", classes}};
  AtomicFile file(a.json);
  file.write(json.dump(2) + '\n');
  file.commit();
}

}  // namespace

void evaluate_classes(const ClassEvaluation& a, const LoadedModel& loaded, const data::Dataset& dataset, Device& device,
                      Communicator& processes) {
  if (!dataset.has_labels())
    throw ConfigError(fmt::format("{}: its images have no classes to score by; segpredict prints what a network sees",
                                  dataset.name()));
  const train::TrainSettings training = train::train_settings(loaded.config);
  train::RoutingShares routes;
  train::ClassifierEvaluation evaluation{.centre_crop = train::eval_settings(loaded.config).centre_crop,
                                         .precision = training.precision,
                                         .mean = dataset.mean(),
                                         .std = dataset.std(),
                                         .batch = std::min(training.batch, 32),
                                         .workers = train::data_settings(loaded.config).workers,
                                         .limit = a.limit};
  if (!a.routing.empty())
    evaluation.after_batch = [&routes, &network = train::require_routing(*loaded.model, "--routing")] {
      routes.add(network.routing());
    };
  const int64_t total = a.limit > 0 ? std::min(a.limit, dataset.size()) : dataset.size();
  const bool speaks = processes.rank() == 0;
  if (speaks && isatty(STDERR_FILENO) == 1)
    evaluation.progress = [own = (total + processes.size() - 1) / processes.size()](int64_t done) {
      fmt::print(stderr, "\r{}/{}{}", done, own, done == own ? "\r\x1b[K" : "");
    };
  if (speaks)
    fmt::print("{} on {}: {} images of {} ({}), shorter side {}, centre {}\n", a.checkpoint, device.description(),
               total, dataset.name(), a.split, evaluation.centre_crop.scale_size, evaluation.centre_crop.crop_size);
  const auto start = std::chrono::steady_clock::now();
  const train::ClassificationScores s = evaluation.run(*loaded.model, dataset, &processes);
  if (!speaks) return;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("top-1 {:.2f} %   top-5 {:.2f} %   (error {:.2f} / {:.2f})   loss {:.4f}\n", s.top1_percent(),
             s.top5_percent(), 100 - s.top1_percent(), 100 - s.top5_percent(), s.mean_loss());
  const auto classes = static_cast<double>(loaded.model->classes());
  fmt::print("for comparison, at random: top-1 {:.2f} %, top-5 {:.2f} %\n", 100 / classes,
             std::min(100.0, 500 / classes));
  fmt::print("{} images in {:.1f} s, {:.2f} images/s\n", s.images, seconds, static_cast<double>(s.images) / seconds);
  if (!a.routing.empty()) data::write_png(a.routing, train::routing_picture(routes));
  if (!a.json.empty()) write_json(a, s, dataset.classes().names, seconds);
}

}  // namespace segrt::apps
