#include "train/weight_average.h"

#include <fmt/format.h>

#include "core/error.h"
#include "nn/state.h"

namespace segrt::train {

WeightAverage::WeightAverage(models::Model& model, double decay) : model_(model), decay_(decay) {
  if (!(decay > 0 && decay < 1))
    throw ArgumentError(fmt::format("weight average: decay: expected a number between 0 and 1, got {}", decay));
  for (const nn::Module::StateEntry& entry : model.state()) {
    const Tensor& value = entry.parameter != nullptr ? entry.parameter->var.value() : entry.buffer->tensor;
    if (!is_float(value.dtype())) continue;
    names_.push_back(entry.path);
    tensors_.push_back({value.clone(), value});
  }
}

void WeightAverage::update(const Tensor& skip) { kernels::average_weights(tensors_, decay_, skip); }

void WeightAverage::restart() {
  for (kernels::AveragedTensor& t : tensors_) t.average.copy_from(t.value);
}

std::vector<NamedTensor> WeightAverage::state(Device& host) const {
  std::vector<NamedTensor> tensors = nn::state_dict(model_, host);
  size_t next = 0;
  for (NamedTensor& t : tensors)
    if (next < names_.size() && t.name == names_[next])
      t.tensor = nn::to_upstream_layout(tensors_[next++].average.to(host));
  return tensors;
}

// Tensors stay where they are, as recorded steps know them, and copies tell what is derived from the weights (rounded
// copies, folded weights) that it is outdated. One tensor at a time is held twice.
void WeightAverage::exchange() {
  for (kernels::AveragedTensor& t : tensors_) {
    const Tensor value = t.value.clone();
    t.value.copy_from(t.average);
    t.average.copy_from(value);
  }
}

WeightAverage::InModel::InModel(WeightAverage* average) : average_(average) {
  if (average_ != nullptr) average_->exchange();
}

WeightAverage::InModel::~InModel() {
  try {
    if (average_ != nullptr) average_->exchange();
  } catch (const Error&) {  // a device that fails here has failed its user before
  }
}

}  // namespace segrt::train
