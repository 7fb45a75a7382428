// What the trainer, the evaluator and the tools see of a network.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "nn/module.h"
#include "nn/segmentation.h"

namespace segrt::models {

enum class Task : uint8_t { segmentation, classification };

// One output of a network. Segmentation: scores [N,h,w,classes], upsampled by `up`. Classification: scores
// [N,h,w,classes], 1x1 but for unusual inputs.
struct Head {
  Var scores;
  nn::Upsampling up;
  double loss_weight = 1;
};

class Model : public nn::Module {
 public:
  Model(std::string name, Task task, int classes) : name_(std::move(name)), task_(task), classes_(classes) {}

  // image [N,H,W,3], normalised, in the compute dtype. The first head is the prediction; further ones are for training.
  virtual std::vector<Head> forward(const Var& image) = 0;
  // The sides of a training crop must be multiples of this.
  virtual int size_multiple() const { return 1; }
  // The name of a tensor of this model in a checkpoint of another kind (a classifier's, say), for starting from its
  // weights; the empty string where it has none.
  virtual std::string pretrained_name(const std::string& name) const { return name; }

  const std::string& name() const { return name_; }
  Task task() const { return task_; }
  int classes() const { return classes_; }

  // Called with the name ("layer3") and value of intermediate maps when set.
  std::function<void(std::string_view name, const Var& value)> tap;

 protected:
  void tapped(std::string_view map_name, const Var& value) const {
    if (tap) tap(map_name, value);
  }

 private:
  std::string name_;
  Task task_;
  int classes_;
};

// Builds the network that `config` describes: its table [model] with name, task ("segmentation" or "classification"),
// classes and the family's own options. Throws ConfigError on an unknown name (listing the known ones) or option.
std::unique_ptr<Model> build(const Config& model_table, nn::Init& init);
std::vector<std::string> known_models();

}  // namespace segrt::models
