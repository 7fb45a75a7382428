// Inference by replay: on a device with graphs, a network's forward pass over images of one size is recorded once and
// then costs one call, and cells that a network skips are skipped by the GPU, without the host waiting for a decision.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/device_graph.h"
#include "models/model.h"

namespace segrt::models {

class CapturedInference {
 public:
  struct Options {
    // Passes in a row over images of one shape and dtype that run as usual before one is recorded: recording costs
    // about two passes, and shapes that come once or twice are not worth it.
    int eager_passes = 1;
  };
  // The model must outlive this object.
  explicit CapturedInference(Model& model) : CapturedInference(model, Options()) {}
  CapturedInference(Model& model, Options options) : model_(model), options_(options) {}

  // What model.forward(image) returns. In evaluation mode, without gradients, on a device with graphs: by replay of the
  // recorded pass, once there is one for this shape. Another shape, or a change of the weights, drops it. What the
  // model keeps of its last pass (routing, measurements) is then that of the replay, if all passes go through this
  // object.
  std::vector<Head> forward(const Tensor& image);

  // Why the last forward was no replay; empty if it was one. "on cpu there are no graphs", "pass 1 of [1,64,64,3],
  // ...", "cannot be captured: <error>" (not tried again for this shape).
  const std::string& reason() const { return reason_; }
  // What is recorded, or null: memory, number of conditions.
  const kernels::DeviceGraph* graph() const { return graph_.get(); }

 private:
  std::string obstacle(const Tensor& image) const;
  bool weights_changed() const;
  void forget();
  void capture(const Tensor& image);
  std::vector<Head> replay(const Tensor& image);

  Model& model_;
  Options options_;
  std::string reason_;
  Shape shape_;
  DType dtype_ = DType::f32;
  int passes_ = 0;                                    // in a row over this shape
  std::string failure_;                               // of the capture for this shape
  std::vector<std::pair<Tensor, uint64_t>> weights_;  // parameters and buffers of the model, with their versions
  Tensor input_;                                      // what the recorded pass reads
  std::vector<Head> heads_;                           // what it writes
  std::unique_ptr<kernels::DeviceGraph> graph_;
};

}  // namespace segrt::models
