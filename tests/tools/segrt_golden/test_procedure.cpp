#include "tests/tools/segrt_golden/test_procedure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "tests/support/tensors.h"
#include "tests/tools/segrt_golden/model_state.h"
#include "tests/tools/segrt_golden/network.h"
#include "tests/tools/segrt_golden/pictures.h"
#include "train/evaluator.h"

namespace segrt::golden {
namespace {
constexpr double kMargin = 1e-3;

struct Item {
  std::string index;  // "0"
  data::Sample sample;
  data::Image prediction;  // the stored one
};

class StoredPictures final : public data::Dataset {
 public:
  StoredPictures(std::vector<Item> items, data::LabelTable classes, Normalisation normalisation)
      : items_(std::move(items)), classes_(std::move(classes)), normalisation_(normalisation) {}
  const std::string& name() const override { return name_; }
  int64_t size() const override { return static_cast<int64_t>(items_.size()); }
  data::Sample load(int64_t index) const override { return items_.at(static_cast<size_t>(index)).sample; }
  const data::LabelTable& classes() const override { return classes_; }
  std::array<double, 3> mean() const override { return normalisation_.mean; }
  std::array<double, 3> std() const override { return normalisation_.std; }
  const std::vector<Item>& items() const { return items_; }

 private:
  std::string name_ = "golden file";
  std::vector<Item> items_;
  data::LabelTable classes_;
  Normalisation normalisation_;
};

std::vector<Item> stored_items(GoldenFile& file, const Json& images) {
  std::vector<Item> items;
  for (size_t i = 0; i < images.size(); ++i) {
    Item item{.index = std::to_string(i), .sample = {}, .prediction = {}};
    item.sample.image = picture(file, "image." + item.index);
    if (file.contains("label." + item.index)) item.sample.label = picture(file, "label." + item.index);
    item.sample.name = item.index;
    item.prediction = picture(file, "pred." + item.index);
    items.push_back(std::move(item));
  }
  return items;
}

// Colours of the classes, in the shape of the stored picture.
void check_colours(GoldenFile& file, const Item& item, int classes, Report& report) {
  const std::string name = "colour." + item.index;
  if (!file.contains(name)) return;
  const data::Image stored = picture(file, name);
  const data::LabelTable table =
      classes == 3 && stored.channels == 4 ? data::triplet_labels() : data::cityscapes_labels();
  report.identical(name,
                   pixels(stored.channels == 4 ? data::colourise_rgba(item.prediction, table)
                                               : data::colourise(item.prediction, table)),
                   pixels(stored));
}

// The difference between the two largest of the classes of each pixel, maps [1,H,W,classes].
std::vector<double> margins(const std::vector<double>& maps, int classes) {
  std::vector<double> result;
  const auto k = static_cast<size_t>(classes);
  for (size_t p = 0; p + k <= maps.size(); p += k) {
    double first = -INFINITY, second = -INFINITY;
    for (size_t c = 0; c < k; ++c) {
      const double v = maps[p + c];
      second = v > first ? first : std::max(second, v);
      first = std::max(first, v);
    }
    result.push_back(first - second);
  }
  return result;
}

// Our summed log-probabilities differ by `error` from the reference's, so a margin by twice that.
void check_margins(const std::vector<double>& margin, double recorded, double error, const std::string& name,
                   Report& report) {
  const auto below = [&](double limit) {
    return static_cast<double>(std::count_if(margin.begin(), margin.end(), [&](double m) { return m < limit; }));
  };
  report.equal(name, below(kMargin - 2 * error) <= recorded && recorded <= below(kMargin + 2 * error),
               fmt::format("within rounding: {} pixels of margin below 1e-3, recorded {}", below(kMargin), recorded));
}

// Returns how many pixels of the prediction differ from the stored one.
int64_t check_picture(GoldenFile& file, Fields description, const Item& item, train::Evaluator& evaluator,
                      const data::Image& prediction, size_t scales, int classes, Report& report) {
  const double sum_tolerance = kForwardTolerance * static_cast<double>(scales);
  const data::Image& image = item.sample.image;
  description.skip("name");
  if (description.has("size_hw"))
    report.equal("size of picture " + item.index,
                 description.get<std::vector<int>>("size_hw") == std::vector<int>{image.height, image.width});
  const std::vector<double> sum = test::to_doubles(evaluator.pixel_scores(image));
  if (description.has("sum_log_prob")) {
    Fields stored(description.raw("sum_log_prob"), file.path() + ": images: sum_log_prob");
    const auto shape = stored.get<std::vector<int64_t>>("shape");
    const auto stride = static_cast<size_t>(stored.get<int64_t>("flat_stride", 1));
    stored.check_used();
    const std::string name = "sum_log_prob." + item.index;
    if (shape != std::vector<int64_t>{1, classes, image.height, image.width})
      report.fail(name, "of shape " + to_string(shape) + ", which is not the picture's");
    const std::vector<double> maps = to_channels_first(sum, 1, classes);
    std::vector<double> some;
    for (size_t i = 0; i < maps.size(); i += std::max<size_t>(stride, 1)) some.push_back(maps[i]);
    report.max_abs(name, some, file.values(name), sum_tolerance);
  }
  const std::vector<double> margin = margins(sum, classes);
  if (description.has("pixels_with_margin_below_1e-3"))
    check_margins(margin, description.get<double>("pixels_with_margin_below_1e-3"), sum_tolerance,
                  "margins." + item.index, report);
  description.check_used();
  if (prediction.pixels.size() != item.prediction.pixels.size() || prediction.pixels.size() != margin.size()) {
    report.fail("pred." + item.index, "of another size than the picture");
    return 0;
  }
  int64_t wrong = 0, different = 0, compared = 0;
  for (size_t p = 0; p < margin.size(); ++p) {
    const bool differs = prediction.pixels[p] != item.prediction.pixels[p];
    different += differs;
    if (!(margin[p] > kMargin)) continue;
    ++compared;
    wrong += differs;
  }
  report.equal("pred." + item.index, wrong == 0 && compared > 0,
               fmt::format("in {} of {} pixels, {} more are too close to call", wrong == 0 ? compared : wrong,
                           wrong == 0 ? margin.size() : static_cast<size_t>(compared),
                           static_cast<int64_t>(margin.size()) - compared));
  check_colours(file, item, classes, report);
  return different;
}

void check_scores(GoldenFile& file, const StoredPictures& pictures, const std::vector<int64_t>& evaluated,
                  int64_t different, int classes, Device& device, Report& report) {
  if (!file.contains("hist")) return;
  std::vector<int64_t> counts(static_cast<size_t>(classes) * static_cast<size_t>(classes));
  for (const Item& item : pictures.items()) {
    if (item.sample.label.empty()) continue;
    const std::vector<int64_t> one = confusion(item.sample.label, item.prediction, classes, device);
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += one[i];
  }
  const std::vector<double> stored = file.values("hist");
  report.identical("hist", std::vector<double>(counts.begin(), counts.end()), stored);
  // A pixel that the run predicts otherwise moves one count from one cell to another.
  double moved = 0;
  for (size_t i = 0; i < counts.size(); ++i) moved += std::abs(static_cast<double>(evaluated[i]) - stored.at(i));
  report.equal("hist of this run", moved <= 2 * static_cast<double>(different),
               fmt::format("up to the {} pixels that are predicted otherwise", different));
  const PercentScores scores = percent_scores(counts, classes);
  report.entries("iou", scores.iou, file.values("iou"), 1e-12, {});
  if (file.has("miou_returned"))
    report.error("miou_returned", "absolute", std::abs(scores.mean_rounded - file.get<double>("miou_returned")), 1e-9);
}
}  // namespace

void run_test_procedure(GoldenFile& file, const NetworkRules& rules, Device& device, Report& report) {
  for (const char* words : {"torch", "pillow", "numpy", "upstream", "note", "calibration_input"}) file.skip(words);
  const std::unique_ptr<models::Model> model = build_model(file, rules, device);
  check_structure(file, *model, report);
  const int classes = model->classes();
  const Normalisation normalisation = golden::normalisation(file);
  const auto scales = file.get<std::vector<double>>("scales");
  if (file.has("multi_scale"))
    report.equal("multi_scale", file.get<bool>("multi_scale") == (scales != std::vector<double>{1.0}));
  const Json images = file.json("images");
  if (!images.is_array() || images.empty()) throw FileError(file.path() + ": images: expected a list");
  const StoredPictures pictures(stored_items(file, images), data::generic_labels(classes), normalisation);

  train::Evaluator evaluator(*model, {.scales = scales, .mean = normalisation.mean, .std = normalisation.std});
  int64_t different = 0;
  std::vector<data::Image> predictions;
  const train::Evaluator::Result result = evaluator.evaluate(
      pictures, 0, [&](int64_t, const data::Sample&, const data::Image& p) { predictions.push_back(p); });
  for (size_t i = 0; i < predictions.size(); ++i)
    different += check_picture(file, Fields(images[i], file.path() + ": images"), pictures.items()[i], evaluator,
                               predictions[i], scales.size(), classes, report);
  check_scores(file, pictures, result.confusion, different, classes, device, report);
}

}  // namespace segrt::golden
