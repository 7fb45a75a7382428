#include "apps/segpredict/classes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "core/error.h"
#include "data/heat_map.h"
#include "train/classification.h"
#include "train/photo_classifier.h"
#include "train/settings.h"

namespace segrt::apps {
namespace {
namespace fs = std::filesystem;

// The class that a user named: by its whole name, else by its index.
int64_t class_named(const std::string& text, const std::vector<std::string>& names) {
  const auto found = std::find(names.begin(), names.end(), text);
  if (found != names.end()) return found - names.begin();
  int64_t index = -1;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (status == std::errc{} && end == text.data() + text.size() && index >= 0 &&
      index < static_cast<int64_t>(names.size()))
    return index;
  throw ArgumentError(fmt::format("--cam-class: expected a class name such as \"{}\" or an index 0..{}, got \"{}\"",
                                  names.front(), names.size() - 1, text));
}

// The network, with maps in place of pooled scores if those are wanted.
LoadedModel load_classifier(const ClassPrediction& a, Device& device) {
  if (!a.cam) return load_model(a.checkpoint, a.config, a.set, device, a.strict);
  std::vector<std::string> set = a.set;
  set.emplace_back("model.out_map=true");
  const auto impossible = [](const std::string& why) {
    return ArgumentError("--cam: class activation maps need a DRN classifier of family C or D: " + why);
  };
  try {
    LoadedModel loaded = load_model(a.checkpoint, a.config, set, device, a.strict);
    if (loaded.model->class_map_stride() == 0) throw impossible("this is " + loaded.model->name());
    return loaded;
  } catch (const ConfigError& e) {
    throw impossible(e.what());
  }
}

}  // namespace

void predict_classes(const ClassPrediction& a, Device& device) {
  if (a.cam && a.output.empty()) throw ArgumentError("--cam: a folder for the pictures is needed: -o DIR");
  const LoadedModel loaded = load_classifier(a, device);
  const int classes = loaded.model->classes();
  const train::DatasetCard card = dataset_card(a.checkpoint, a.config, loaded.config);
  const std::vector<std::string>& names = card.classes.names;
  if (names.size() != static_cast<size_t>(classes))
    throw ConfigError(fmt::format("{}: the model has {} classes, its dataset {}", a.checkpoint, classes, names.size()));
  const int64_t chosen = a.cam_class.empty() ? -1 : class_named(a.cam_class, names);
  train::PhotoClassifier classifier(*loaded.model, {.centre_crop = train::eval_settings(loaded.config).centre_crop,
                                                    .precision = train::train_settings(loaded.config).precision,
                                                    .mean = card.mean,
                                                    .std = card.std});
  std::set<std::string> stems;
  for (const std::string& path : a.images) {
    const data::Image photo = data::read_image_as_rgb(path);
    const std::vector<float> scores = classifier.scores(photo);
    const std::vector<double> probabilities = train::softmax(scores);
    const std::vector<int64_t> first = train::first_classes(scores, a.top);
    fmt::print("{}\n", path);
    for (const int64_t c : first)
      fmt::print("  {:.4f}  {:>4}  {}\n", probabilities[static_cast<size_t>(c)], c, names[static_cast<size_t>(c)]);
    if (!a.cam) continue;
    const int64_t shown = chosen >= 0 ? chosen : first.front();
    const fs::path file = fs::path(a.output) / (unique_stem(path, stems) + "_cam.png");
    data::write_png(file, data::heat_overlay(photo, classifier.class_map(photo, shown), a.alpha));
    fmt::print("  -> {}: where it sees {}\n", file.string(), names[static_cast<size_t>(shown)]);
  }
}

}  // namespace segrt::apps
