#include "train/evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <string_view>

#include "core/error.h"
#include "data/transform.h"
#include "kernels/argmax.h"
#include "kernels/elementwise.h"
#include "kernels/resize.h"
#include "train/network_input.h"

namespace segrt::train {
namespace {
Device& device_of(models::Model& model) {
  Device* device = nullptr;
  model.visit_parameters([&](const std::string&, nn::Parameter& p) { device = &p.var.device(); });
  if (device == nullptr) throw ArgumentError("evaluator: the model has no parameters");
  return *device;
}

data::Image to_image(const Tensor& prediction) {  // u8 [1,H,W]
  data::Image image(static_cast<int>(prediction.dim(1)), static_cast<int>(prediction.dim(2)), 1);
  image.pixels = prediction.to_vector<uint8_t>();
  return image;
}

// Adds one image's measurements to those of the images before it: `mean` holds the sum until the end.
void collect(const Evaluator::Measurements& measurements, std::vector<Evaluator::Measured>& all) {
  for (const auto& [name, value] : measurements) {
    const auto found = std::find_if(all.begin(), all.end(), [&](const auto& m) { return m.name == name; });
    if (found == all.end()) {
      all.push_back({name, value, value, value, 1});
      continue;
    }
    found->mean += value;
    found->min = std::min(found->min, value);
    found->max = std::max(found->max, value);
    ++found->images;
  }
}
}  // namespace

Evaluator::Evaluator(models::Model& model, Options options)
    : model_(model),
      options_(std::move(options)),
      // A mirrored pass follows at once: with several sizes, two of one size in a row say nothing of a third.
      inference_(model, {.eager_passes = options_.flip ? 2 : 1}),
      device_(device_of(model)),
      normalization_(input_normalization(model, options_.mean, options_.std)) {
  if (model.task() != models::Task::segmentation)
    throw ArgumentError("evaluator: " + model.name() + " is not a segmentation network");
  if (passes() == 0) throw ArgumentError("evaluator: at least one scale is needed");
  model.set_training(false);
  model.begin_step(0, 0);
}

data::Image Evaluator::pass_image(const data::Image& base, size_t pass) const {
  if (!options_.edges.empty()) return resized(base, options_.edges[pass]);
  const double scale = options_.scales[pass];
  return scale == 1 ? base : data::scale_for_testing(base, scale);
}

Tensor Evaluator::packed(const data::Image& image) const {
  if (image.channels != 3)
    throw ArgumentError(fmt::format("evaluator: expected an RGB image, got {} channels", image.channels));
  const Tensor raw = Tensor::from<uint8_t>({1, image.height, image.width, 3}, image.pixels, device_);
  Tensor x = Tensor::empty(raw.shape(), options_.precision, device_);
  kernels::normalize_u8(raw, normalization_, x);
  return x;
}

models::Head Evaluator::forward(const Tensor& input) {
  models::Head head = inference_.forward(padded_to_multiple(input, model_.pad_multiple())).front();
  if (first_pass_) {
    first_pass_ = false;
    measurements_ = model_.evaluation_metrics();
    if (options_.after_first_pass) options_.after_first_pass();
  }
  return head;
}

Tensor Evaluator::predict(const data::Image& image) {
  const NoGrad no_grad(device_);
  first_pass_ = true;
  const data::Image base = resized(image, options_.base);
  if (passes() == 1 && !options_.flip) {
    // Nothing to combine: the argmax is taken from the network's own resolution, without a map of probabilities.
    const data::Image input = pass_image(base, 0);
    if (input.height == image.height && input.width == image.width) {
      const models::Head head = forward(packed(input));
      return nn::segmentation_argmax(head.scores.value(), head.up, image.height, image.width);
    }
  }
  Tensor prediction = Tensor::empty({1, image.height, image.width}, DType::u8, device_);
  kernels::argmax(combined(base, image.height, image.width), prediction);
  return prediction;
}

Tensor Evaluator::pixel_scores(const data::Image& image) {
  const NoGrad no_grad(device_);
  first_pass_ = true;
  return combined(resized(image, options_.base), image.height, image.width);
}

Tensor Evaluator::pass_map(const Tensor& input, int height, int width) {
  const models::Head head = forward(input);
  const bool logits = options_.average == Average::logits;
  Tensor y =
      (logits ? nn::upsampled_scores(head.scores, head.up) : nn::log_probabilities(head.scores, head.up)).value();
  // Padding that was added here is cut off. A network's own (DRN's output may exceed its input by some rows) is resized
  // along with the rest where log-probabilities are summed, as published.
  if (logits || model_.pad_multiple() > 1) y = top_left(y, input.dim(1), input.dim(2));
  if (y.dtype() != DType::f32) {
    Tensor wide = Tensor::empty(y.shape(), DType::f32, device_);
    kernels::cast(y, wide);
    y = wide;
  }
  if (y.dim(1) == height && y.dim(2) == width) return y;
  Tensor resized_map = Tensor::empty({y.dim(0), height, width, y.dim(3)}, DType::f32, device_);
  logits ? kernels::resize_forward(y, {}, resized_map) : kernels::resample_bilinear(y, resized_map);
  return resized_map;
}

Tensor Evaluator::combined(const data::Image& base, int height, int width) {
  Tensor sum;
  const auto add = [&sum](const Tensor& map) {
    if (sum.defined())
      kernels::add_scaled(sum, 1, map, 1, sum);
    else
      sum = map;
  };
  for (size_t pass = 0; pass < passes(); ++pass) {
    const Tensor input = packed(pass_image(base, pass));
    add(pass_map(input, height, width));
    if (!options_.flip) continue;
    Tensor mirrored = Tensor::like(input);
    kernels::flip_horizontal(input, mirrored);
    const Tensor map = pass_map(mirrored, height, width);
    Tensor unmirrored = Tensor::like(map);
    kernels::flip_horizontal(map, unmirrored);
    add(unmirrored);
  }
  const auto maps = static_cast<double>(passes() * (options_.flip ? 2 : 1));
  if (options_.average == Average::log_probabilities || maps == 1) return sum;
  Tensor mean = Tensor::like(sum);
  kernels::scale(sum, 1 / maps, 0, mean);
  return mean;
}

Evaluator::Result Evaluator::evaluate(const data::Dataset& dataset, int64_t limit, const OnImage& on_image) {
  const int classes = model_.classes();
  const int64_t count = limit > 0 ? std::min(limit, dataset.size()) : dataset.size();
  Tensor confusion = Tensor::zeros({classes, classes}, DType::i64, device_);
  Result result;
  const auto start = std::chrono::steady_clock::now();
  const auto load = [&dataset](int64_t i) {
    return std::async(std::launch::async, [&dataset, i] { return dataset.load(i); });
  };
  std::future<data::Sample> next;  // decoded while the network runs on the one before
  if (count > 0) next = load(0);
  for (int64_t i = 0; i < count; ++i) {
    const data::Sample sample = next.get();
    if (i + 1 < count) next = load(i + 1);
    const Tensor prediction = predict(sample.image);
    collect(measurements_, result.measured);
    if (!sample.label.empty()) {
      const Tensor label = Tensor::from<uint8_t>(prediction.shape(), sample.label.pixels, device_);
      kernels::confusion_matrix(label, prediction, confusion);
    }
    if (on_image) on_image(i, sample, to_image(prediction));
  }
  for (Measured& m : result.measured) m.mean /= static_cast<double>(m.images);
  result.confusion = confusion.to_vector<int64_t>();
  result.scores = segmentation_scores(result.confusion, classes);
  result.images = count;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

Evaluator::Options evaluation_options(const EvalSettings& settings, bool multi_scale, bool flip) {
  Evaluator::Options options;
  options.base = settings.base;
  options.flip = flip;
  options.average = settings.average;
  if (multi_scale) {
    options.scales = settings.scales;
    options.edges = settings.edges;
  }
  return options;
}

std::string measured_table(std::span<const Evaluator::Measured> measured) {
  constexpr std::pair<std::string_view, std::string_view> kUnits[] = {{"_gflops", "GFLOPs"}, {"_gmacs", "GMACs"}};
  std::string table = fmt::format("{:<14}{:>11}{:>11}{:>11}\n", "an image", "mean", "min", "max");
  for (const Evaluator::Measured& m : measured) {
    std::string_view name = m.name, unit;
    for (const auto& [ending, written] : kUnits)
      if (name.ends_with(ending)) {
        name.remove_suffix(ending.size());
        unit = written;
      }
    table += fmt::format("{:<14}{:>#11.5g}{:>#11.5g}{:>#11.5g}{}{}\n", name, m.mean, m.min, m.max,
                         unit.empty() ? "" : "  ", unit);
  }
  return table;
}

}  // namespace segrt::train
