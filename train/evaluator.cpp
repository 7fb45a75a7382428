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
#include "kernels/softmax.h"
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

Tensor in_f32(const Tensor& x) {
  if (x.dtype() == DType::f32) return x;
  Tensor y = Tensor::empty(x.shape(), DType::f32, x.device());
  kernels::cast(x, y);
  return y;
}

// Rows [first, first + count) of a map [1,H,...], without the leading dimension.
Tensor rows_of(const Tensor& map, int64_t first, int64_t count) {
  std::vector<int64_t> shape;
  for (int i = 1; i < map.rank(); ++i) shape.push_back(map.dim(i));
  return map.reshape(Shape(shape)).slice(first, count);
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
// The figures of all processes' images. A name is known to those processes alone that had an image with it: all have
// the same networks, and a process without any image gets the names from nobody and adds nothing.
void add_up(Communicator& processes, std::vector<Evaluator::Measured>& all) {
  const std::unique_ptr<Device> cpu = Device::create("cpu");
  const std::vector<int64_t> counts = processes.all_gather(static_cast<int64_t>(all.size()));
  const int64_t names = *std::max_element(counts.begin(), counts.end());
  if (names == 0) return;
  std::vector<double> own;
  for (const Evaluator::Measured& m : all) own.insert(own.end(), {m.mean, m.min, m.max, static_cast<double>(m.images)});
  own.resize(static_cast<size_t>(4 * names));
  const Tensor rows = Tensor::empty({processes.size(), 4 * names}, DType::f64, *cpu);
  processes.all_gather(Tensor::from<double>({4 * names}, own, *cpu), rows);
  const std::vector<double> figures = rows.to_vector<double>();
  for (size_t k = 0; k < all.size(); ++k) {
    Evaluator::Measured sum{all[k].name, 0, all[k].min, all[k].max, 0};
    for (size_t at = 4 * k; at < figures.size(); at += static_cast<size_t>(4 * names)) {
      const auto images = static_cast<int64_t>(figures[at + 3]);
      if (images == 0) continue;
      sum.mean += figures[at];
      sum.min = std::min(sum.min, figures[at + 1]);
      sum.max = std::max(sum.max, figures[at + 2]);
      sum.images += images;
    }
    all[k] = sum;
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
  if (!options_.base_size.empty()) return resized(base, options_.base_size, scale);
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
  aligned_corners_ = head.up.rule == nn::Upsampling::Rule::bilinear_align_corners;
  return head;
}

// f32 [N,h,w,classes] for an input [N,h,w,3] that goes through the network as it is.
Tensor Evaluator::whole_logits(const Tensor& input) {
  const models::Head head = forward(input);
  return in_f32(top_left(nn::upsampled_scores(head.scores, head.up).value(), input.dim(1), input.dim(2)));
}

Tensor Evaluator::pass_logits(const Tensor& input) {
  if (!options_.window) return whole_logits(input);
  const Tensor map = Tensor::empty({1, input.dim(1), input.dim(2), model_.classes()}, DType::f32, device_);
  slide(
      input, *options_.window, [this](const Tensor& windows) { return whole_logits(windows); },
      [&](int64_t first, const Tensor& rows) {
        rows_of(map, first, rows.dim(1)).copy_from(rows.reshape({rows.dim(1), rows.dim(2), rows.dim(3)}));
      });
  return map;
}

// Without a map of all logits: memory does not grow with the height of the image.
Tensor Evaluator::predict_in_windows(const Tensor& input) {
  const Tensor prediction = Tensor::empty({1, input.dim(1), input.dim(2)}, DType::u8, device_);
  slide(
      input, *options_.window, [this](const Tensor& windows) { return whole_logits(windows); },
      [&](int64_t first, const Tensor& rows) {
        Tensor target = rows_of(prediction, first, rows.dim(1)).reshape({1, rows.dim(1), rows.dim(2)});
        kernels::argmax(rows, target);
      });
  return prediction;
}

Tensor Evaluator::predict(const data::Image& image) {
  const NoGrad no_grad(device_);
  first_pass_ = true;
  const data::Image base = resized(image, options_.base);
  if (passes() == 1 && !options_.flip) {
    // Nothing to combine: the argmax is taken from the network's own resolution, without a map of probabilities.
    const data::Image input = pass_image(base, 0);
    if (input.height == image.height && input.width == image.width) {
      if (options_.window) return predict_in_windows(packed(input));
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
  if (options_.average == Average::log_probabilities) {
    const Tensor y = pass_log_probabilities(input);
    if (y.dim(1) == height && y.dim(2) == width) return y;
    Tensor resized_map = Tensor::empty({y.dim(0), height, width, y.dim(3)}, DType::f32, device_);
    kernels::resample_bilinear(y, resized_map);
    return resized_map;
  }
  Tensor y = pass_logits(input);
  if (y.dim(1) != height || y.dim(2) != width) {
    Tensor resized_map = Tensor::empty({y.dim(0), height, width, y.dim(3)}, DType::f32, device_);
    const auto corners = aligned_corners_ ? kernels::Coordinates::align_corners : kernels::Coordinates::half_pixel;
    kernels::resize_forward(y, {.coordinates = corners}, resized_map);
    y = resized_map;
  }
  if (options_.average == Average::probabilities) kernels::softmax_forward(y, y);
  return y;
}

Tensor Evaluator::pass_log_probabilities(const Tensor& input) {
  if (options_.window) {
    Tensor y = pass_logits(input);
    kernels::log_softmax_forward(y, y);
    return y;
  }
  const models::Head head = forward(input);
  const Tensor y = nn::log_probabilities(head.scores, head.up).value();
  // Padding that was added here is cut off. A network's own (DRN's output may exceed its input by some rows) is resized
  // along with the rest, as published.
  return in_f32(model_.pad_multiple() > 1 ? top_left(y, input.dim(1), input.dim(2)) : y);
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

Evaluator::Result Evaluator::evaluate(const data::Dataset& dataset, int64_t limit, const OnImage& on_image,
                                      Communicator* processes) {
  const int64_t first = processes != nullptr ? processes->rank() : 0,
                stride = processes != nullptr ? processes->size() : 1;
  const int classes = model_.classes();
  const int64_t count = limit > 0 ? std::min(limit, dataset.size()) : dataset.size();
  Tensor confusion = Tensor::zeros({classes, classes}, DType::i64, device_);
  Result result;
  const auto start = std::chrono::steady_clock::now();
  const auto load = [&dataset](int64_t i) {
    return std::async(std::launch::async, [&dataset, i] { return dataset.load(i); });
  };
  std::future<data::Sample> next;  // decoded while the network runs on the one before
  if (first < count) next = load(first);
  for (int64_t i = first; i < count; i += stride) {
    const data::Sample sample = next.get();
    if (i + stride < count) next = load(i + stride);
    const Tensor prediction = predict(sample.image);
    collect(measurements_, result.measured);
    if (!sample.label.empty()) {
      const Tensor label = Tensor::from<uint8_t>(prediction.shape(), sample.label.pixels, device_);
      kernels::confusion_matrix(label, prediction, confusion);
    }
    if (on_image) on_image(i, sample, to_image(prediction));
  }
  if (processes != nullptr && stride > 1) {
    processes->all_reduce(confusion);
    add_up(*processes, result.measured);
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
  options.base_size = settings.base_size;
  options.window = settings.window;
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
