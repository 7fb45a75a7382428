#include "models/captured_inference.h"

#include <algorithm>

#include "core/error.h"
#include "core/op_scope.h"

namespace segrt::models {

std::vector<Head> CapturedInference::forward(const Tensor& image) {
  reason_ = obstacle(image);
  if (!reason_.empty()) {
    forget();  // what the model keeps of its last pass is no longer the graph's
    return model_.forward(image);
  }
  if (image.shape() != shape_ || image.dtype() != dtype_ || weights_changed()) {
    forget();
    shape_ = image.shape();
    dtype_ = image.dtype();
  }
  if (!graph_ && failure_.empty() && ++passes_ > options_.eager_passes) capture(image);
  if (graph_) return replay(image);
  reason_ = !failure_.empty() ? "cannot be captured: " + failure_
                              : "pass " + std::to_string(passes_) + " of " + to_string(shape_) + ", pass " +
                                    std::to_string(options_.eager_passes + 1) + " is recorded";
  return model_.forward(image);
}

std::string CapturedInference::obstacle(const Tensor& image) const {
  Device& device = image.device();
  if (!kernels::DeviceGraph::supported(device)) return "on " + device.name() + " there are no graphs";
  if (model_.training()) return "the model is in training mode";
  if (device.grad_enabled()) return "gradients are recorded";
  if (model_.tap || watched(device)) return "somebody looks at every layer";
  return {};
}

bool CapturedInference::weights_changed() const {
  return std::any_of(weights_.begin(), weights_.end(), [](const auto& w) { return w.first.version() != w.second; });
}

void CapturedInference::forget() {
  graph_.reset();
  heads_.clear();
  input_ = Tensor();
  weights_.clear();
  passes_ = 0;
  failure_.clear();
}

void CapturedInference::capture(const Tensor& image) {
  try {
    input_ = image.clone();
    kernels::DeviceGraph::rehearse(image.device(), [this] { model_.forward(input_); });
    graph_ = std::make_unique<kernels::DeviceGraph>(image.device(), [this] { heads_ = model_.forward(input_); });
    for (const nn::Module::StateEntry& e : model_.state()) {
      const Tensor& t = e.parameter != nullptr ? e.parameter->var.value() : e.buffer->tensor;
      weights_.emplace_back(t, t.version());
    }
  } catch (const Error& error) {
    const std::string what = error.what();
    forget();
    failure_ = what;
  }
}

std::vector<Head> CapturedInference::replay(const Tensor& image) {
  input_.copy_from(image);
  graph_->replay();
  std::vector<Head> heads = heads_;  // copies: the next replay writes into the recorded ones
  for (Head& head : heads) head.scores = head.scores.value().clone();
  return heads;
}

}  // namespace segrt::models
