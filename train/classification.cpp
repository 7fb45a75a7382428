#include "train/classification.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>

#include "core/error.h"
#include "data/loader.h"
#include "kernels/elementwise.h"
#include "models/captured_inference.h"
#include "train/network_input.h"

namespace segrt::train {

void ClassificationScores::add(std::span<const float> scores, int64_t label) {
  const auto l = static_cast<size_t>(label);
  if (label < 0 || l >= scores.size() || scores.size() != class_images.size())
    throw ArgumentError(fmt::format("classification scores: class {} and {} scores, expected {} classes", label,
                                    scores.size(), class_images.size()));
  // Not "ahead if greater": every comparison with a NaN is false, and it must not win.
  size_t ahead = 0;
  for (size_t c = 0; c < scores.size(); ++c)
    ahead += c != l && !(scores[c] < scores[l] || (scores[c] == scores[l] && c > l));
  const double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (const float s : scores) sum += std::exp(s - largest);
  loss_sum += largest + std::log(sum) - scores[l];
  ++images;
  top1 += ahead < 1;
  top5 += ahead < 5;
  ++class_images[l];
  class_correct[l] += ahead < 1;
}

void ClassificationScores::add_up(Communicator& processes) {
  if (processes.size() == 1) return;
  const std::unique_ptr<Device> cpu = Device::create("cpu");
  std::vector<int64_t> counts{images, top1, top5};
  counts.insert(counts.end(), class_images.begin(), class_images.end());
  counts.insert(counts.end(), class_correct.begin(), class_correct.end());
  const Tensor all = Tensor::from<int64_t>({static_cast<int64_t>(counts.size())}, counts, *cpu);
  const Tensor loss = Tensor::from<double>({1}, std::vector<double>{loss_sum}, *cpu);
  processes.all_reduce(all);
  processes.all_reduce(loss);
  counts = all.to_vector<int64_t>();
  loss_sum = loss.to_vector<double>().front();
  images = counts[0];
  top1 = counts[1];
  top5 = counts[2];
  const auto first = counts.begin() + 3, middle = first + static_cast<std::ptrdiff_t>(class_images.size());
  class_images.assign(first, middle);
  class_correct.assign(middle, counts.end());
}

std::vector<int64_t> first_classes(std::span<const float> scores, int64_t count) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto score = [&](int64_t c) {
    const float s = scores[static_cast<size_t>(c)];
    return std::isnan(s) ? -std::numeric_limits<float>::infinity() : s;
  };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return score(a) > score(b); });
  order.resize(std::min(order.size(), static_cast<size_t>(count)));
  return order;
}

std::vector<double> softmax(std::span<const float> scores) {
  std::vector<double> y(scores.size());
  const double largest = scores.empty() ? 0 : *std::max_element(scores.begin(), scores.end());
  std::transform(scores.begin(), scores.end(), y.begin(), [&](float s) { return std::exp(s - largest); });
  const double sum = std::accumulate(y.begin(), y.end(), 0.0);
  for (double& v : y) v /= sum;
  return y;
}

void require_one_cell(const models::Model& model, const Var& scores) {
  if (scores.shape().rank() == 4 && scores.dim(1) == 1 && scores.dim(2) == 1 && scores.dim(3) == model.classes())
    return;
  throw ArgumentError(
      fmt::format("{}: one score a class is expected of an image, [N,1,1,{}], got {}: the size of the image (data.crop "
                  "in training, "
                  "eval.crop_size in evaluation) and model.pool_size do not go together",
                  model.name(), model.classes(), to_string(scores.shape())));
}

ClassificationScores ClassifierEvaluation::run(models::Model& model, const data::Dataset& dataset,
                                               Communicator* processes) const {
  if (!dataset.is_classification() || !dataset.has_labels())
    throw ArgumentError(fmt::format("{}: has no class for its images to be scored by", dataset.name()));
  const data::CentreCrop transform(centre_crop);
  Device* device = nullptr;
  model.visit_parameters([&](const std::string&, nn::Parameter& p) { device = &p.var.device(); });
  const int rank = processes != nullptr ? processes->rank() : 0, world = processes != nullptr ? processes->size() : 1;
  std::optional<data::Loader> loader;
  if (rank < dataset.size())  // there may be more processes than images
    loader.emplace(dataset, transform, *device,
                   data::Loader::Options{.batch_size = batch,
                                         .workers = workers,
                                         .shuffle = false,
                                         .drop_last = false,
                                         .endless = false,
                                         .rank = rank,
                                         .world = world});
  model.set_training(false);
  model.begin_step(0, 0);
  const NoGrad no_grad(*device);
  models::CapturedInference inference(model);
  const kernels::Normalization normalization = input_normalization(model, mean, std);
  const int64_t total = limit > 0 ? std::min(limit, dataset.size()) : dataset.size();
  const int64_t wanted = (total - rank + world - 1) / world;  // of this process: images rank, rank + world, ...
  ClassificationScores result(model.classes());
  while (result.images < wanted) {
    const data::Batch images = *loader->next();
    const models::Head head = inference.forward(upload_images(images, normalization, precision, *device)).front();
    require_one_cell(model, head.scores);
    if (after_batch) after_batch();
    Tensor scores = Tensor::empty(head.scores.shape(), DType::f32, *device);
    kernels::cast(head.scores.value(), scores);
    const std::vector<float> values = scores.to_vector<float>();
    const auto classes = static_cast<size_t>(model.classes());
    for (size_t i = 0; i < images.classes.size() && result.images < wanted; ++i)
      result.add(std::span(values).subspan(i * classes, classes), images.classes[i]);
    if (progress) progress(result.images);
  }
  if (processes != nullptr) result.add_up(*processes);
  return result;
}

std::map<std::string, double> validation_values(const ClassificationScores& scores) {
  return {{"top1", scores.top1_percent()}, {"top5", scores.top5_percent()}, {"loss", scores.mean_loss()}};
}

}  // namespace segrt::train
