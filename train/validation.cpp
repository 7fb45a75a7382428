#include "train/validation.h"

#include "train/network_input.h"

namespace segrt::train {

std::map<std::string, double> validate_images(models::Model& model, const data::Dataset& dataset,
                                              const Evaluator::Options& options, int64_t limit,
                                              Communicator* processes) {
  Evaluator evaluator(model, options);
  const Evaluator::Result result = evaluator.evaluate(dataset, limit, nullptr, processes);
  std::map<std::string, double> values{{"miou", result.scores.miou},
                                       {"macc", result.scores.macc},
                                       {"pixel_accuracy", result.scores.aacc},
                                       {"images_per_s", static_cast<double>(result.images) / result.seconds}};
  for (const Evaluator::Measured& m : result.measured) values.emplace(m.name, m.mean);
  return values;
}

std::map<std::string, double> validate_crops(models::Model& model, data::Loader& crops,
                                             const kernels::Normalization& normalization, DType precision,
                                             int ignore_index, Device& device) {
  model.set_training(false);
  model.begin_step(0, 0);
  const NoGrad no_grad(device);
  double accuracy = 0, loss = 0;
  int64_t images = 0;
  while (const std::optional<data::Batch> batch = crops.next()) {
    const models::Head head = model.forward(upload_images(*batch, normalization, precision, device)).front();
    const auto result =
        nn::segmentation_loss(head.scores, head.up, upload_labels(*batch, device), {.ignore_index = ignore_index});
    const double pixels = result.weight_sum.item();
    if (pixels > 0) accuracy += batch->size * result.correct.item() / pixels;
    loss += batch->size * result.loss.value().item();
    images += batch->size;
  }
  return {{"pixel_accuracy", accuracy / static_cast<double>(images)}, {"loss", loss / static_cast<double>(images)}};
}

}  // namespace segrt::train
