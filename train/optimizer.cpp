#include "train/optimizer.h"

#include "core/error.h"
#include "kernels/reduce.h"
#include "nn/state.h"

namespace segrt::train {

namespace {
constexpr const char* kLossScale = "loss_scale";

// An entry that fits nothing is a misspelt one.
void require_match(bool matched, const char* option, const std::string& text) {
  if (!matched)
    throw ArgumentError(std::string("optimizer: ") + option + ": \"" + text + "\" fits no trained parameter");
}
}  // namespace

Optimizer::Optimizer(models::Model& model, const Options& options, std::vector<std::string> state_names)
    : options_(options), state_names_(std::move(state_names)) {
  model.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    if (!p.trained) return;
    slots_.push_back({path, p.var, {}, 1.0f, static_cast<float>(options_.weight_decay)});
    for (size_t i = 0; i < state_names_.size(); ++i) slots_.back().state.push_back(Tensor::zeros_like(p.var.value()));
  });
  if (slots_.empty()) throw ArgumentError("optimizer: the model has no trained parameters");
  for (const std::string& ending : options_.no_decay) {
    bool matched = false;
    for (Slot& slot : slots_)
      if (slot.name.ends_with(ending)) slot.weight_decay = 0, matched = true;
    require_match(matched, "no_decay", ending);
  }
  for (Slot& slot : slots_)
    if (options_.no_decay_1d && slot.var.shape().rank() == 1) slot.weight_decay = 0;
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
  factor_ = Tensor::zeros({1}, DType::f32, device);
  keep("step", step_);
  if (options_.loss_scaling.initial <= 0) return;
  const std::vector<float> initial{static_cast<float>(options_.loss_scaling.initial)};
  scaling_ = {.scale = Tensor::from<float>({1}, initial, device),
              .good_steps = Tensor::zeros({1}, DType::i64, device),
              .skipped = Tensor::zeros({1}, DType::i64, device),
              .skip = Tensor::zeros({1}, DType::i32, device)};
}

std::unique_ptr<Optimizer> Optimizer::create(models::Model& model, const Options& options) {
  if (options.kind == Kind::sgd) return std::make_unique<Sgd>(model, options);
  return std::make_unique<Adam>(model, options);
}

void Optimizer::step() {
  std::vector<const Slot*> slots;
  std::vector<Tensor> gradients, copies;
  for (const Slot& slot : slots_) {
    if (!slot.var.grad().defined()) continue;
    slots.push_back(&slot);
    gradients.push_back(slot.var.grad());
    copies.push_back(slot.copy());
  }
  kernels::compute_learning_rate(options_.schedule, step_, lr_);
  const bool scaled = loss_scale().defined(), clipped = options_.clip_norm > 0;
  if (!slots.empty()) {
    if (scaled || clipped) kernels::global_norm(gradients, norm_);
    if (scaled)
      kernels::judge_gradients(options_.loss_scaling.rule, options_.clip_norm, norm_, scaling_, factor_);
    else if (clipped)
      kernels::compute_clip(norm_, options_.clip_norm, factor_);
    update(slots, lr_, scaled || clipped ? factor_ : Tensor(), scaling_.skip);
    for (size_t i = 0; i < slots.size(); ++i)
      if (copies[i].defined()) slots[i]->var.copy_is_current(copies[i].dtype());
  }
  // A skipped step counts for the schedule, as where PyTorch's scheduler is stepped beside its GradScaler.
  kernels::advance_step(step_);
}

std::vector<std::pair<std::string, Tensor>> Optimizer::scaling_state() const {
  if (!loss_scale().defined()) return {};
  return {{kLossScale, scaling_.scale},
          {"loss_scale_good_steps", scaling_.good_steps},
          {"skipped_steps", scaling_.skipped}};
}

std::vector<NamedTensor> Optimizer::state(Device& host) const {
  std::vector<NamedTensor> tensors;
  for (size_t i = 0; i < state_names_.size(); ++i)
    for (const Slot& slot : slots_)
      tensors.push_back({state_names_[i] + "/" + slot.name, nn::to_upstream_layout(slot.state[i].to(host))});
  for (const auto& [name, scalar] : scalars_) tensors.push_back({name, scalar.to(host)});
  for (const auto& [name, scalar] : scaling_state()) tensors.push_back({name, scalar.to(host)});
  return tensors;
}

void Optimizer::load(const SafetensorsFile& file, const std::string& prefix) {
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
  for (size_t i = 0; i < state_names_.size(); ++i)
    for (const Slot& slot : slots_) restore(state_names_[i] + "/" + slot.name, slot.state[i]);
  for (const auto& [name, scalar] : scalars_) restore(name, scalar);
  if (!file.contains(prefix + kLossScale)) return;
  for (const auto& [name, scalar] : scaling_state()) restore(name, scalar);
}

Sgd::Sgd(models::Model& model, const Options& options) : Optimizer(model, options, {"momentum"}) {}

void Sgd::update(const std::vector<const Slot*>& slots, const Tensor& lr, const Tensor& factor, const Tensor& skip) {
  std::vector<kernels::SgdTensor> tensors;
  for (const Slot* s : slots)
    tensors.push_back({s->var.value(), s->var.grad(), s->state[0], s->lr_factor, s->weight_decay, s->copy()});
  kernels::sgd_step(tensors, options().sgd, lr, factor, skip);
}

Adam::Adam(models::Model& model, const Options& options)
    : Optimizer(model, options, {"adam_m", "adam_v"}),
      adam_(options.adam),
      updates_(Tensor::zeros({1}, DType::i64, device())) {
  adam_.decoupled_decay = options.kind == Kind::adamw;
  keep("adam_updates", updates_);
}

void Adam::update(const std::vector<const Slot*>& slots, const Tensor& lr, const Tensor& factor, const Tensor& skip) {
  std::vector<kernels::AdamTensor> tensors;
  for (const Slot* s : slots)
    tensors.push_back(
        {s->var.value(), s->var.grad(), s->state[0], s->state[1], s->lr_factor, s->weight_decay, s->copy()});
  kernels::adam_step(tensors, adam_, lr, updates_, factor, skip);
  kernels::advance_step(updates_, skip);
}

}  // namespace segrt::train
