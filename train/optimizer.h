// Optimizers over a model's trained parameters; the arithmetic is in kernels/optimizer.h.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/safetensors.h"
#include "kernels/loss_scale.h"
#include "kernels/optimizer.h"
#include "models/model.h"

namespace segrt::train {

// Dynamic loss scaling, for gradients in f16 (kernels/loss_scale.h).
struct LossScaling {
  double initial = 0;  // scale of the first step; 0: no scaling
  kernels::LossScaleRule rule = {};
  double least = 1e-4;  // a scale below this says that training has diverged
};

// What all optimizers share: parameters with their rate factors and decay, the schedule, clipping, loss scaling, state
// in checkpoints.
class Optimizer {
 public:
  enum class Kind : uint8_t { sgd, adam, adamw };
  struct Options {
    kernels::LrSchedule schedule;
    kernels::SgdOptions sgd;  // of Kind::sgd
    double weight_decay = 0;
    double clip_norm = 0;                    // largest global norm of the gradients; 0: no clipping
    std::vector<std::string> no_decay = {};  // weight decay 0 for parameters whose name ends so ("norm.bias")
    bool no_decay_1d = false;                // nor for parameters of one dimension
    // Parameters whose name contains the text learn at the rate times the factor; factors of several matches multiply.
    std::vector<std::pair<std::string, double>> lr_factors = {};
    Kind kind = Kind::sgd;
    kernels::AdamOptions adam = {};  // of the others; decoupled_decay follows from the kind
    LossScaling loss_scaling = {};
  };
  // The one that options.kind names. Throws ArgumentError for an entry of no_decay or lr_factors that fits no trained
  // parameter.
  static std::unique_ptr<Optimizer> create(models::Model& model, const Options& options);
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // One update from the gradients that the parameters hold, f32 or 16 bits. A parameter without a gradient is left
  // alone, weight decay included. A parameter's rounded copy (Var::rounded) of its gradient's type is updated with it.
  // Advances the device-side step counter, from which the next learning rate follows. With loss scaling the gradients
  // are those of loss_scale() times the loss; where one is not finite, nothing changes but the scale, the step counter
  // and the number of skipped steps. No host synchronisation.
  void step();

  // f32 [1] on the device: the rate of the last step, and (with clipping or loss scaling) the gradients' norm before
  // it, that of the loss without its scale.
  const Tensor& learning_rate() const { return lr_; }
  const Tensor& gradient_norm() const { return norm_; }
  const Tensor& step_counter() const { return step_; }  // i64 [1] on the device
  // With loss scaling, else undefined: f32 [1], what the next loss is to be multiplied by; i64 [1], steps skipped.
  const Tensor& loss_scale() const { return scaling_.scale; }
  const Tensor& skipped_steps() const { return scaling_.skipped; }
  const Tensor& skip() const { return scaling_.skip; }  // i32 [1], not 0 where the last step was skipped
  const Options& options() const { return options_; }

  // "<state>/<parameter>" in upstream layout (SGD: momentum; Adam: adam_m, adam_v) and the counters, on a CPU device;
  // load expects the same set, but for loss scaling, which starts anew where the file is of a training without. Throws
  // FileError.
  std::vector<NamedTensor> state(Device& host) const;
  void load(const SafetensorsFile& file, const std::string& prefix);

 protected:
  struct Slot {
    std::string name;
    Var var;
    std::vector<Tensor> state;  // f32, like the parameter, from zero; in the order of state_names
    float lr_factor, weight_decay;

    Tensor copy() const { return var.current_copy(var.grad().dtype()); }
  };
  Optimizer(models::Model& model, const Options& options, std::vector<std::string> state_names);
  Device& device() const { return step_.device(); }
  // A counter or scalar that checkpoints hold beside the slots' state.
  void keep(std::string name, const Tensor& scalar) { scalars_.emplace_back(std::move(name), scalar); }
  // Updates the parameters of `slots`, all of which have gradients, and the copies that are current; lr, factor and
  // skip as kernels/optimizer.h has them.
  virtual void update(const std::vector<const Slot*>& slots, const Tensor& lr, const Tensor& factor,
                      const Tensor& skip) = 0;

 private:
  std::vector<std::pair<std::string, Tensor>> scaling_state() const;

  Options options_;
  std::vector<std::string> state_names_;
  std::vector<Slot> slots_;
  std::vector<std::pair<std::string, Tensor>> scalars_;
  Tensor step_, lr_, norm_, factor_;
  kernels::LossScaleState scaling_;
};

// Stochastic gradient descent with momentum.
class Sgd final : public Optimizer {
 public:
  Sgd(models::Model& model, const Options& options);

 private:
  void update(const std::vector<const Slot*>& slots, const Tensor& lr, const Tensor& factor,
              const Tensor& skip) override;
};

// Adam, and AdamW (Kind::adamw). The number of updates behind the bias corrections is one for all parameters.
class Adam final : public Optimizer {
 public:
  Adam(models::Model& model, const Options& options);

 private:
  void update(const std::vector<const Slot*>& slots, const Tensor& lr, const Tensor& factor,
              const Tensor& skip) override;
  kernels::AdamOptions adam_;
  Tensor updates_;  // i64 [1]
};

}  // namespace segrt::train
