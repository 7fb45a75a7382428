#include "train/evaluator.h"

#include <fmt/format.h>

#include <chrono>
#include <future>

#include "core/error.h"
#include "data/transform.h"
#include "kernels/argmax.h"
#include "kernels/elementwise.h"
#include "kernels/resize.h"

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
}  // namespace

Evaluator::Evaluator(models::Model& model, Options options)
    : model_(model), options_(std::move(options)), device_(device_of(model)) {
  if (model.task() != models::Task::segmentation)
    throw ArgumentError("evaluator: " + model.name() + " is not a segmentation network");
  if (options_.scales.empty()) throw ArgumentError("evaluator: at least one scale is needed");
  model.set_training(false);
}

Tensor Evaluator::packed(const data::Image& image) const {
  if (image.channels != 3)
    throw ArgumentError(fmt::format("evaluator: expected an RGB image, got {} channels", image.channels));
  const Tensor raw = Tensor::from<uint8_t>({1, image.height, image.width, 3}, image.pixels, device_);
  kernels::Normalization n{};
  for (size_t c = 0; c < 3; ++c) {
    n.mean[c] = static_cast<float>(options_.mean[c]);
    n.std[c] = static_cast<float>(options_.std[c]);
  }
  Tensor x = Tensor::empty(raw.shape(), options_.precision, device_);
  kernels::normalize_u8(raw, n, x);
  return x;
}

Tensor Evaluator::predict(const data::Image& image) {
  const NoGrad no_grad(device_);
  if (options_.scales.size() == 1 && options_.scales[0] == 1 && !options_.flip) {
    const models::Head head = model_.forward(packed(image)).front();
    return nn::segmentation_argmax(head.scores.value(), head.up, image.height, image.width);
  }
  Tensor prediction = Tensor::empty({1, image.height, image.width}, DType::u8, device_);
  kernels::argmax(log_probability_sum(image), prediction);
  return prediction;
}

Tensor Evaluator::log_probabilities(const Tensor& input, int height, int width) {
  const models::Head head = model_.forward(input).front();
  Tensor y = nn::log_probabilities(head.scores, head.up).value();
  if (y.dtype() != DType::f32) {
    Tensor wide = Tensor::empty(y.shape(), DType::f32, device_);
    kernels::cast(y, wide);
    y = wide;
  }
  if (y.dim(1) == height && y.dim(2) == width) return y;
  Tensor resized = Tensor::empty({y.dim(0), height, width, y.dim(3)}, DType::f32, device_);
  kernels::resample_bilinear(y, resized);
  return resized;
}

Tensor Evaluator::log_probability_sum(const data::Image& image) {
  const NoGrad no_grad(device_);
  Tensor sum;
  const auto add = [&sum](const Tensor& map) {
    if (sum.defined())
      kernels::add_scaled(sum, 1, map, 1, sum);
    else
      sum = map;
  };
  for (const double scale : options_.scales) {
    const Tensor input = packed(scale == 1 ? image : data::scale_for_testing(image, scale));
    add(log_probabilities(input, image.height, image.width));
    if (!options_.flip) continue;
    Tensor mirrored = Tensor::like(input);
    kernels::flip_horizontal(input, mirrored);
    const Tensor map = log_probabilities(mirrored, image.height, image.width);
    Tensor unmirrored = Tensor::like(map);
    kernels::flip_horizontal(map, unmirrored);
    add(unmirrored);
  }
  return sum;
}

Evaluator::Result Evaluator::evaluate(const data::Dataset& dataset, int64_t limit, const OnImage& on_image) {
  const int classes = model_.classes();
  const int64_t count = limit > 0 ? std::min(limit, dataset.size()) : dataset.size();
  Tensor confusion = Tensor::zeros({classes, classes}, DType::i64, device_);
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
    if (!sample.label.empty()) {
      const Tensor label = Tensor::from<uint8_t>(prediction.shape(), sample.label.pixels, device_);
      kernels::confusion_matrix(label, prediction, confusion);
    }
    if (on_image) on_image(i, sample, to_image(prediction));
  }
  Result result;
  result.confusion = confusion.to_vector<int64_t>();
  result.scores = segmentation_scores(result.confusion, classes);
  result.images = count;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace segrt::train
