#include "train/optimizer.h"

#include "core/error.h"
#include "kernels/reduce.h"
#include "nn/state.h"

namespace segrt::train {

namespace {
// An entry that fits nothing is a misspelt one.
void require_match(bool matched, const char* option, const std::string& text) {
  if (!matched)
    throw ArgumentError(std::string("optimizer: ") + option + ": \"" + text + "\" fits no trained parameter");
}
}  // namespace

Sgd::Sgd(models::Model& model, const Options& options) : options_(options) {
  model.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    if (p.trained)
      slots_.push_back(
          {path, p.var, Tensor::zeros_like(p.var.value()), 1.0f, static_cast<float>(options_.weight_decay)});
  });
  if (slots_.empty()) throw ArgumentError("optimizer: the model has no trained parameters");
  for (const std::string& ending : options_.no_decay) {
    bool matched = false;
    for (Slot& slot : slots_)
      if (slot.name.ends_with(ending)) slot.weight_decay = 0, matched = true;
    require_match(matched, "no_decay", ending);
  }
  for (const auto& [part, factor] : options_.lr_factors) {
    bool matched = false;
    for (Slot& slot : slots_)
      if (slot.name.find(part) != std::string::npos) slot.lr_factor *= static_cast<float>(factor), matched = true;
    require_match(matched, "lr_factors", part);
  }
  Device& device = slots_.front().var.device();
  step_ = Tensor::zeros({1}, DType::i64, device);
  lr_ = Tensor::zeros({1}, DType::f32, device);
  norm_ = Tensor::zeros({1}, DType::f32, device);
  clip_ = Tensor::zeros({1}, DType::f32, device);
}

void Sgd::step() {
  std::vector<kernels::SgdTensor> tensors;
  std::vector<Tensor> gradients;
  for (const Slot& slot : slots_) {
    const Tensor& gradient = slot.var.grad();
    if (!gradient.defined()) continue;
    tensors.push_back({slot.var.value(), gradient, slot.momentum, slot.lr_factor, slot.weight_decay});
    gradients.push_back(gradient);
  }
  kernels::compute_learning_rate(options_.schedule, step_, lr_);
  Tensor clip;
  if (options_.clip_norm > 0 && !gradients.empty()) {
    kernels::global_norm(gradients, norm_);
    kernels::compute_clip(norm_, options_.clip_norm, clip_);
    clip = clip_;
  }
  kernels::sgd_step(tensors, options_.sgd, lr_, clip);
  kernels::advance_step(step_);
}

std::vector<NamedTensor> Sgd::state(Device& host) const {
  std::vector<NamedTensor> tensors;
  for (const Slot& slot : slots_)
    tensors.push_back({"momentum/" + slot.name, nn::to_upstream_layout(slot.momentum.to(host))});
  tensors.push_back({"step", step_.to(host)});
  return tensors;
}

void Sgd::load(const SafetensorsFile& file, const std::string& prefix) {
  const std::unique_ptr<Device> host = Device::create("cpu");
  const auto restore = [&](const std::string& name, Tensor target) {
    if (!file.contains(prefix + name))
      throw FileError(file.path() + ": " + prefix + name + " is missing: not a checkpoint of this model's training");
    const Tensor source = nn::from_upstream_layout(file.read(prefix + name, *host));
    if (source.shape() != target.shape() || source.dtype() != target.dtype())
      throw FileError(file.path() + ": " + prefix + name + ": expected " + std::string(to_string(target.dtype())) +
                      " " + to_string(target.shape()) + ", got " + describe(source));
    target.copy_from(source);
  };
  for (const Slot& slot : slots_) restore("momentum/" + slot.name, slot.momentum);
  restore("step", step_);
}

}  // namespace segrt::train
