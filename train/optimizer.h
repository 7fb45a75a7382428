// Stochastic gradient descent over a model's trained parameters; the arithmetic is in kernels/optimizer.h.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/safetensors.h"
#include "kernels/optimizer.h"
#include "models/model.h"

namespace segrt::train {

class Sgd {
 public:
  struct Options {
    kernels::LrSchedule schedule;
    kernels::SgdOptions sgd;
    double weight_decay = 0;
    double clip_norm = 0;                    // largest global norm of the gradients; 0: no clipping
    std::vector<std::string> no_decay = {};  // weight decay 0 for parameters whose name ends so ("norm.bias")
    // Parameters whose name contains the text learn at the rate times the factor; factors of several matches multiply.
    std::vector<std::pair<std::string, double>> lr_factors = {};
  };
  // Throws ArgumentError for an entry of no_decay or lr_factors that fits no trained parameter.
  Sgd(models::Model& model, const Options& options);

  // One update from the gradients that the parameters hold. A parameter without a gradient is left alone, weight decay
  // included. Advances the device-side step counter, from which the next learning rate follows. No host
  // synchronisation.
  void step();

  // f32 [1] on the device: the rate of the last step, and (with clipping) the gradients' norm before it.
  const Tensor& learning_rate() const { return lr_; }
  const Tensor& gradient_norm() const { return norm_; }
  const Tensor& step_counter() const { return step_; }  // i64 [1] on the device
  const Options& options() const { return options_; }

  // "momentum/<parameter>" in upstream layout and "step", on a CPU device; load expects the same set. Throws FileError.
  std::vector<NamedTensor> state(Device& host) const;
  void load(const SafetensorsFile& file, const std::string& prefix);

 private:
  struct Slot {
    std::string name;
    Var var;
    Tensor momentum;
    float lr_factor, weight_decay;
  };
  Options options_;
  std::vector<Slot> slots_;
  Tensor step_, lr_, norm_, clip_;
};

}  // namespace segrt::train
