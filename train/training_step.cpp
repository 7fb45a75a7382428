#include "train/training_step.h"

#include "core/error.h"
#include "core/op_scope.h"

namespace segrt::train {

void TrainingStep::run(const Tensor& x, const Tensor& labels, int64_t step, int64_t total_steps, const SeeLoss& see,
                       const Tensor& own_share) {
  reason_ = obstacle(x);
  if (!reason_.empty()) {
    forget();
    return eager(x, labels, own_share, step, total_steps, see);
  }
  if (x.shape() != shape_ || x.dtype() != dtype_) {
    forget();
    shape_ = x.shape();
    dtype_ = x.dtype();
  }
  // A graph reads the weights' rounded copies, and makes none: they are current when it is recorded, and at each
  // replay.
  const std::vector<nn::Module::StateEntry> state = model_.state();
  for (const nn::Module::StateEntry& e : state)
    if (e.parameter != nullptr) e.parameter->var.refresh_copy(dtype_);
  if (!graph_ && failure_.empty() && ++steps_ > options_.eager_steps) capture(x, labels, own_share, step, total_steps);
  if (!graph_) {
    reason_ = !failure_.empty() ? "cannot be captured: " + failure_
                                : "step " + std::to_string(steps_) + " of " + to_string(shape_) + ", step " +
                                      std::to_string(options_.eager_steps + 1) + " is recorded";
    return eager(x, labels, own_share, step, total_steps, see);
  }
  x_.copy_from(x);
  labels_.copy_from(labels);
  if (share_.defined()) share_.copy_from(own_share);
  graph_->replay();
  // It wrote into weights, their copies and running statistics, of which what is derived elsewhere (folded weights)
  // must hear.
  for (const nn::Module::StateEntry& e : state) {
    (e.parameter != nullptr ? e.parameter->var.value() : e.buffer->tensor).bump_version();
    if (e.parameter != nullptr) e.parameter->var.copy_is_current(dtype_);
  }
  if (see) see(total_, auxiliary_);
}

std::string TrainingStep::obstacle(const Tensor& x) const {
  Device& device = x.device();
  if (!options_.capture) return "train.capture is false";
  if (!kernels::DeviceGraph::supported(device)) return "on " + device.name() + " there are no graphs";
  if (parallel_ != nullptr && !parallel_->processes().capturable())
    return "between the processes is no NCCL, and the host hands on their messages";
  if (model_.tap || watched(device)) return "somebody looks at every layer";
  if (model_.follows_step()) return model_.name() + " changes with the step in ways that the host computes";
  return {};
}

void TrainingStep::eager(const Tensor& x, const Tensor& labels, const Tensor& own_share, int64_t step,
                         int64_t total_steps, const SeeLoss& see) {
  Device& device = x.device();
  model_.begin_step(step, total_steps);
  NetworkLoss loss;
  {
    const FunctionScope scope("forward_pass", device);
    loss = network_loss(
        model_, x, labels,
        {.ignore_index = options_.ignore_index, .label_smoothing = options_.label_smoothing, .own_share = own_share},
        parallel_);
  }
  if (see && parallel_ != nullptr) {
    const NetworkLoss of_all = over_processes(loss, *parallel_);
    see(of_all.total.value(), of_all.auxiliary);
  } else if (see) {
    see(loss.total.value(), loss.auxiliary);
  }
  {
    const FunctionScope scope("backward_pass", device);
    backward(loss.total, optimizer_.loss_scale());
    loss = {};
  }
  if (parallel_ != nullptr) {  // what of the gradients' messages the backward pass has not hidden
    const FunctionScope scope("sum_gradients", device);
    parallel_->finish();
  }
  model_.round_grads();
  const FunctionScope scope("optimizer_step", device);
  optimizer_.step();
  if (average_ != nullptr) average_->update(optimizer_.skip());
  model_.clear_grads();
}

void TrainingStep::capture(const Tensor& x, const Tensor& labels, const Tensor& own_share, int64_t step,
                           int64_t total_steps) {
  try {
    x_ = x.clone();
    labels_ = labels.clone();
    if (own_share.defined()) share_ = own_share.clone();
    graph_ = std::make_unique<kernels::DeviceGraph>(x.device(), [&] {
      eager(x_, labels_, share_, step, total_steps, [this](const Tensor& total, const auto& auxiliary) {
        total_ = total;
        auxiliary_.clear();
        for (const models::AuxiliaryLoss& a : auxiliary) auxiliary_.push_back({a.name, a.value.detach()});
      });
    });
  } catch (const Error& error) {
    const std::string what = error.what();
    if (parallel_ != nullptr) parallel_->abandon();
    forget();
    shape_ = x.shape();
    dtype_ = x.dtype();
    failure_ = what;
    model_.clear_grads();
  }
}

void TrainingStep::forget() {
  graph_.reset();
  x_ = labels_ = share_ = total_ = Tensor();
  auxiliary_.clear();
  shape_ = {};
  steps_ = 0;
  failure_.clear();
}

}  // namespace segrt::train
