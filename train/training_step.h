// One update of a network: forward pass, loss, backward pass, optimizer, averages of the weights. On a device with
// graphs the whole of it is recorded once and then costs one call.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device_graph.h"
#include "train/network_loss.h"
#include "train/optimizer.h"
#include "train/weight_average.h"

namespace segrt::train {

class TrainingStep {
 public:
  struct Options {
    int ignore_index = 255;
    double label_smoothing = 0;  // as LossOptions
    bool capture = true;         // record steps where the device has graphs
    // Steps in a row over batches of one shape and dtype that run as usual before one is recorded: they make what
    // layers and kernels keep, and the gradients' sizes known.
    int eager_steps = 2;
  };
  // Model, optimizer, `parallel` (nullptr: one process) and `average` (nullptr: none) must outlive this object.
  TrainingStep(models::Model& model, Optimizer& optimizer, const Options& options, DataParallel* parallel = nullptr,
               WeightAverage* average = nullptr)
      : model_(model), optimizer_(optimizer), options_(options), parallel_(parallel), average_(average) {}

  // Step `step` (from 0) of `total_steps` on a batch as the network wants it, x [N,H,W,3] and labels. `see` is told the
  // loss, f32 [1], and its auxiliary parts, on the device: before the weights change where the step runs as usual,
  // after it where it is replayed; the tensors then are overwritten by the next step, in the order of the stream. With
  // several processes it is their loss, the same in all.
  using SeeLoss = std::function<void(const Tensor& total, const std::vector<models::AuxiliaryLoss>& auxiliary)>;
  // own_share: as LossOptions; in every step of a training or in none.
  void run(const Tensor& x, const Tensor& labels, int64_t step, int64_t total_steps, const SeeLoss& see,
           const Tensor& own_share = {});

  // Why the last step was no replay; empty if it was one.
  const std::string& reason() const { return reason_; }
  // Whether that is but that a step of this shape has not been recorded yet.
  bool warming_up() const { return steps_ > 0 && graph_ == nullptr && failure_.empty(); }
  const kernels::DeviceGraph* graph() const { return graph_.get(); }  // what is recorded, or null

 private:
  std::string obstacle(const Tensor& x) const;
  void eager(const Tensor& x, const Tensor& labels, const Tensor& own_share, int64_t step, int64_t total_steps,
             const SeeLoss& see);
  void capture(const Tensor& x, const Tensor& labels, const Tensor& own_share, int64_t step, int64_t total_steps);
  void forget();

  models::Model& model_;
  Optimizer& optimizer_;
  Options options_;
  DataParallel* parallel_;
  WeightAverage* average_;
  std::string reason_, failure_;  // failure_: of the capture for this shape
  Tensor x_, labels_, share_;     // what the recorded step reads
  Tensor total_;                  // what it writes
  std::vector<models::AuxiliaryLoss> auxiliary_;
  Shape shape_;
  DType dtype_ = DType::f32;
  int steps_ = 0;  // in a row over this shape
  std::unique_ptr<kernels::DeviceGraph> graph_;
};

}  // namespace segrt::train
