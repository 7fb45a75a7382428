#include "train/image_to_map.h"

#include "core/error.h"
#include "train/network_input.h"

namespace segrt::train {

ImageToMap::ImageToMap(models::Model& model, Device& device, const Options& options)
    : model_(model),
      device_(device),
      options_(options),
      normalization_(input_normalization(model, options.mean, options.std)) {
  if (model.task() != models::Task::segmentation)
    throw ArgumentError("class maps: " + model.name() + " is not a segmentation network");
  model.set_training(false);
  model.begin_step(0, 0);
}

Tensor ImageToMap::map_of(const Tensor& image) {
  const NoGrad no_grad(device_);
  Tensor x = Tensor::empty(image.shape(), options_.precision, device_);
  kernels::normalize_u8(image, normalization_, x);
  const models::Head head = model_.forward(padded_to_multiple(x, model_.pad_multiple())).front();
  return nn::segmentation_argmax(head.scores.value(), head.up, static_cast<int>(image.dim(1)),
                                 static_cast<int>(image.dim(2)));
}

kernels::ReplayedWork& ImageToMap::prepare(const Shape& shape) {
  if (work_ != nullptr && input_.shape() == shape) return *work_;
  work_.reset();
  input_ = Tensor::zeros(shape, DType::u8, device_);
  work_ = std::make_unique<kernels::ReplayedWork>(
      device_, [this] { return map_of(input_); }, options_.capture);
  return *work_;
}

Tensor ImageToMap::run(const Tensor& image) {
  if (image.shape() != shape_) {
    shape_ = image.shape();
    in_a_row_ = 0;
    work_.reset();
  }
  if (++in_a_row_ == 1 || !options_.capture || !kernels::DeviceGraph::supported(device_)) return map_of(image);
  kernels::ReplayedWork& work = prepare(shape_);
  input_.copy_from(image);
  return work.run();
}

}  // namespace segrt::train
