#include "train/photo_classifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "kernels/elementwise.h"
#include "train/classification.h"
#include "train/network_input.h"

namespace segrt::train {

PhotoClassifier::PhotoClassifier(models::Model& model, const Options& options) : model_(model), options_(options) {
  if (model.task() != models::Task::classification)
    throw ArgumentError(model.name() + " is not a classifier: model.task is \"segmentation\"");
  const int crop_size = options.centre_crop.crop_size;
  if (crop_size % model.pad_multiple() != 0)
    throw ArgumentError(fmt::format("eval.crop_size: expected a multiple of {} for {}, got {}", model.pad_multiple(),
                                    model.name(), crop_size));
  model.visit_parameters([this](const std::string&, nn::Parameter& p) { device_ = &p.var.device(); });
  model.set_training(false);
  model.begin_step(0, 0);
}

Tensor PhotoClassifier::forward(const data::Image& image) {
  const NoGrad no_grad(*device_);
  const Tensor raw = Tensor::from<uint8_t>({1, image.height, image.width, 3}, image.pixels, *device_);
  Tensor x = Tensor::empty(raw.shape(), options_.precision, *device_);
  kernels::normalize_u8(raw, input_normalization(model_, options_.mean, options_.std), x);
  const models::Head head = model_.forward(x).front();
  if (model_.class_map_stride() == 0) require_one_cell(model_, head.scores);
  Tensor scores = Tensor::empty(head.scores.shape(), DType::f32, *device_);
  kernels::cast(head.scores.value(), scores);
  return scores;
}

std::vector<float> PhotoClassifier::scores(const data::Image& photo) {
  const std::vector<float> map = forward(data::CentreCrop(options_.centre_crop).apply(photo)).to_vector<float>();
  const auto classes = static_cast<size_t>(model_.classes());
  const size_t cells = map.size() / classes;
  std::vector<double> sums(classes);
  for (size_t i = 0; i < map.size(); ++i) sums[i % classes] += map[i];
  std::vector<float> scores(classes);
  std::transform(sums.begin(), sums.end(), scores.begin(),
                 [cells](double sum) { return static_cast<float>(sum / static_cast<double>(cells)); });
  return scores;
}

std::vector<float> PhotoClassifier::class_map(const data::Image& photo, int64_t label) {
  const int stride = model_.class_map_stride();
  if (stride == 0)
    throw ArgumentError(model_.name() + " gives no class activation maps; DRN of the families C and D does (out_map)");
  if (label < 0 || label >= model_.classes())
    throw ArgumentError(fmt::format("class map: expected a class in 0..{}, got {}", model_.classes() - 1, label));
  const data::ImageSize size = data::shorter_side_size(photo.height, photo.width, options_.centre_crop.scale_size);
  const Tensor map = forward(data::resize(photo, size.height, size.width, data::Filter::bilinear));
  const int height = static_cast<int>(map.dim(1)), width = static_cast<int>(map.dim(2));
  const std::vector<float> all = map.to_vector<float>();
  std::vector<float> values(static_cast<size_t>(height) * static_cast<size_t>(width));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = all[i * static_cast<size_t>(model_.classes()) + static_cast<size_t>(label)];
  // The last row and column of cells may reach beyond the image: what they stand for, in the photo's pixels, is cut
  // off.
  const auto covered = [stride](int cells, int side, int photo_side) {
    return std::max(photo_side, static_cast<int>(std::lround(static_cast<double>(stride) * cells * photo_side / side)));
  };
  const int tall = covered(height, size.height, photo.height), wide = covered(width, size.width, photo.width);
  std::vector<float> resized(static_cast<size_t>(tall) * static_cast<size_t>(wide));
  data::resize(values, height, width, 1, resized, tall, wide, data::Filter::bilinear);
  std::vector<float> result;
  result.reserve(static_cast<size_t>(photo.height) * static_cast<size_t>(photo.width));
  for (int y = 0; y < photo.height; ++y) {
    const auto row = resized.begin() + static_cast<std::ptrdiff_t>(y) * wide;
    result.insert(result.end(), row, row + photo.width);
  }
  return result;
}

}  // namespace segrt::train
