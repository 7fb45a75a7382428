// What the trainer, the evaluator and the tools see of a network.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/communicator.h"
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
  // Segmentation: where set ("decode"), the logs of a training show <name>.loss_ce, this head's weighted loss, and
  // <name>.acc_seg, the percentage of all pixels that it gets right, ignored ones counted as wrong.
  std::string name = {};
  bool count_ignored = false;  // the head's loss is averaged over all pixels, the ignored ones adding nothing
};

// How 8-bit RGB images become a network's input: (x / unit - mean[c]) / std[c] in float32, for channel c of the input.
struct Preprocessing {
  bool bgr = false;   // the input's channels, and those of mean and std, are B,G,R; else R,G,B
  double unit = 255;  // 255: mean and std are in units of [0,1]; 1: in units of [0,255], and x is not divided
  std::array<double, 3> mean{}, std{1, 1, 1};
};

// A loss of the network's own making, beside the heads': a penalty on what it computed in the forward pass.
struct AuxiliaryLoss {
  std::string name;            // in logs: "budget"
  Var value;                   // f32 [1], weighted: it is added to the loss as it is
  bool is_percentage = false;  // for the logs alone, and no part of the loss
};

class Model : public nn::Module {
 public:
  Model(std::string name, Task task, int classes)
      : Module(name), name_(std::move(name)), task_(task), classes_(classes) {}

  // image [N,H,W,3], normalised, in the compute dtype. The first head is the prediction; further ones are for training.
  virtual std::vector<Head> forward(const Var& image) = 0;
  // The sides of a training crop must be multiples of this.
  virtual int size_multiple() const { return 1; }
  // In evaluation, an image is padded with zeros (after normalisation) at the bottom and right to multiples of this.
  // The logits of the padding are cut off.
  virtual int pad_multiple() const { return 1; }
  // Where the network's input is not normalised by the dataset's mean and std over RGB in [0,1], how it is.
  virtual std::optional<Preprocessing> preprocessing() const { return std::nullopt; }

  // Called before every forward pass of training step `step` (from 0) of `total_steps`, for what is scheduled inside a
  // network; (0, 0) before passes outside training, where step / total_steps stands for 0.
  virtual void begin_step(int64_t /*step*/, int64_t /*total_steps*/) {}
  // Whether training passes depend on begin_step's numbers through values that the host computes, so that a recorded
  // pass could not stand for a later one.
  virtual bool follows_step() const { return false; }
  // Of the last forward pass in training mode. One that does not apply yet is absent rather than zero.
  virtual std::vector<AuxiliaryLoss> auxiliary_losses() { return {}; }
  // What the last forward pass in evaluation mode has to report of its image, by name ("real_gflops").
  virtual std::vector<std::pair<std::string, double>> evaluation_metrics() { return {}; }

  // The name of a tensor of this model in a checkpoint of another kind (a classifier's, say), for starting from its
  // weights; the empty string where it has none.
  virtual std::string pretrained_name(const std::string& name) const { return name; }
  // Whether a tensor of such a checkpoint is none of this model's, and no reason for an error.
  virtual bool ignores_pretrained(const std::string& /*file_name*/) const { return false; }

  // Classification: where the scores are a map of class activations rather than one cell, the side of the square of the
  // image's pixels that a cell stands for; else 0.
  virtual int class_map_stride() const { return 0; }

  const std::string& name() const { return name_; }
  Task task() const { return task_; }
  int classes() const { return classes_; }

  // Where set, a mean over the batch is one over the batches of all these processes, and an auxiliary loss is this
  // process's share of theirs: the shares add up. Else each process has its own.
  Communicator* averages_over = nullptr;
  // The processes that the batch norms are over (nn::synchronize_batch_norms); nullptr: this one.
  const Communicator* norms_over = nullptr;

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
// What `task` of a table [model] says, without building anything.
Task task_of(const Config& model_table);
std::vector<std::string> known_models();

}  // namespace segrt::models
