// Exponential moving averages of a network's weights (Polyak & Juditsky 1992), which score better than the weights
// themselves while the learning rate is high; timm's ModelEma.
#pragma once

#include <string>
#include <vector>

#include "core/safetensors.h"
#include "kernels/weight_average.h"
#include "models/model.h"

namespace segrt::train {

// Of everything in the network's state that is a number: parameters, and running statistics of batch norms. What only
// counts (num_batches_tracked) has no average.
class WeightAverage {
 public:
  // The averages start as what the model holds. The model must outlive this object. Throws ArgumentError unless
  // 0 < decay < 1.
  WeightAverage(models::Model& model, double decay);
  WeightAverage(const WeightAverage&) = delete;
  WeightAverage& operator=(const WeightAverage&) = delete;
  double decay() const { return decay_; }

  // After an update of the weights: average = decay * average + (1 - decay) * what the model holds, in one launch and
  // without host synchronisation. skip: i32 [1] or undefined; where it is not 0, nothing changes.
  void update(const Tensor& skip = {});
  void restart();  // the averages are what the model holds

  // The network's state with the averages in place of what they are averages of, as nn::state_dict has it.
  std::vector<NamedTensor> state(Device& host) const;

  // While it lives, the model computes with the averages: they are in its tensors, whose own contents are here. Where
  // there is no average, nothing happens.
  class InModel {
   public:
    explicit InModel(WeightAverage* average);
    ~InModel();
    InModel(const InModel&) = delete;
    InModel& operator=(const InModel&) = delete;

   private:
    WeightAverage* average_;
  };

 private:
  void exchange();

  models::Model& model_;
  double decay_;
  std::vector<std::string> names_;  // of tensors_
  std::vector<kernels::AveragedTensor> tensors_;
};

}  // namespace segrt::train
