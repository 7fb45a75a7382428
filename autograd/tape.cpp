#include "autograd/tape.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "autograd/converted.h"
#include "core/error.h"
#include "core/op_scope.h"
#include "kernels/elementwise.h"

namespace segrt {

// A parameter's value rounded to 16 bits, and what it was made from.
struct Var::Copy {
  Tensor value;
  uint64_t storage_id = 0, version = 0;

  bool is_of(const Tensor& t) const { return storage_id == t.storage_id() && version == t.version(); }
  void set_of(const Tensor& t) {
    storage_id = t.storage_id();
    version = t.version();
  }
};

struct Var::Node {
  std::string_view op;                        // a literal
  std::string module;                         // that called it, for scopes
  std::vector<std::shared_ptr<Node>> inputs;  // null where the input needs no gradient
  BackwardFn backward;                        // empty for a leaf, and once consumed
  Tensor grad;
  Shape shape;
  bool leaf = false;
  bool weight = false;                // Var::is_weight
  std::function<void()> on_gradient;  // of a leaf
  std::vector<Copy> copies;           // of a leaf: at most one a type
};

Var Var::parameter(Tensor value) {
  Var v(std::move(value));
  v.node_ = std::make_shared<Node>();
  v.node_->op = "parameter";
  v.node_->shape = v.value_.shape();
  v.node_->leaf = v.node_->weight = true;
  return v;
}

const Tensor& Var::grad() const {
  static const Tensor none;
  return node_ ? node_->grad : none;
}

void Var::set_grad(Tensor grad) {
  if (!node_ || !node_->leaf) throw ArgumentError("set_grad: only a parameter holds a gradient");
  node_->grad = std::move(grad);
}

void Var::on_gradient(std::function<void()> f) const {
  if (!node_ || !node_->leaf) throw ArgumentError("on_gradient: only a parameter collects a gradient");
  node_->on_gradient = std::move(f);
}

void Var::clear_grad() {
  if (node_) node_->grad = Tensor();
}

void Var::round_grad() {
  if (!grad().defined() || grad().dtype() != DType::f64 || value_.dtype() == DType::f64) return;
  set_grad(autograd::converted(grad(), value_.dtype()));
}

bool Var::is_parameter() const { return node_ && node_->leaf; }
bool Var::is_weight() const { return node_ && node_->weight; }

Var::Copy* Var::find_copy(DType dtype) const {
  if (!is_parameter()) return nullptr;
  const auto found = std::find_if(node_->copies.begin(), node_->copies.end(),
                                  [dtype](const Copy& c) { return c.value.dtype() == dtype; });
  return found == node_->copies.end() ? nullptr : &*found;
}

Var Var::rounded(DType dtype) const {
  if (!is_parameter()) throw ArgumentError("rounded: only a parameter keeps a copy");
  if (value_.dtype() != DType::f32 || (dtype != DType::bf16 && dtype != DType::f16))
    throw ArgumentError(
        fmt::format("rounded: expected f32 to bf16 or f16, got {} to {}", to_string(value_.dtype()), to_string(dtype)));
  Copy* copy = find_copy(dtype);
  if (copy == nullptr) {
    node_->copies.push_back({.value = Tensor::empty(value_.shape(), dtype, value_.device())});
    copy = &node_->copies.back();
  }
  refresh_copy(dtype);
  Var v(copy->value);
  v.node_ = node_;
  return v;
}

Tensor Var::current_copy(DType dtype) const {
  const Copy* copy = find_copy(dtype);
  return copy != nullptr && copy->is_of(value_) ? copy->value : Tensor();
}

void Var::copy_is_current(DType dtype) const {
  Copy* copy = find_copy(dtype);
  if (copy == nullptr) return;
  copy->value.bump_version();
  copy->set_of(value_);
}

void Var::refresh_copy(DType dtype) const {
  Copy* copy = find_copy(dtype);
  if (copy == nullptr || copy->is_of(value_)) return;
  kernels::cast(value_, copy->value);
  copy_is_current(dtype);
}

bool recording(const std::vector<Var>& inputs) {
  return std::any_of(inputs.begin(), inputs.end(),
                     [](const Var& v) { return v.needs_grad() && v.device().grad_enabled(); });
}

Var record(std::string_view op, const std::vector<Var>& inputs, Tensor y, BackwardFn backward, TakesGradient takes) {
  Var result(std::move(y));
  if (!recording(inputs)) return result;
  result.node_ = std::make_shared<Var::Node>();
  result.node_->op = op;
  if (const Scope* scope = result.device().state<ScopeStack>().innermost()) result.node_->module = scope->module();
  result.node_->shape = result.shape();
  result.node_->backward = std::move(backward);
  result.node_->inputs.reserve(inputs.size());
  for (const Var& input : inputs) result.node_->inputs.push_back(input.node_);
  result.node_->weight =
      takes == TakesGradient::of_any_type &&
      std::all_of(inputs.begin(), inputs.end(), [](const Var& v) { return !v.defined() || v.is_weight(); });
  return result;
}

Tensor reuse_or_like(const Tensor& dy) { return dy.use_count() == 1 ? dy : Tensor::like(dy); }

namespace {
void accumulate(Tensor& slot, Tensor grad) {
  if (!slot.defined()) {
    slot = std::move(grad);
  } else if (slot.dtype() != grad.dtype() && (slot.dtype() == DType::f64 || grad.dtype() == DType::f64)) {
    // A weight's may be a sum in f64 where one operator reads it and f32 where another does.
    slot = autograd::converted(slot, DType::f64);
    accumulate(slot, autograd::converted(grad, DType::f64));
  } else if (slot.use_count() == 1) {
    kernels::add_scaled(slot, 1, grad, 1, slot);
  } else if (grad.use_count() == 1) {
    kernels::add_scaled(slot, 1, grad, 1, grad);
    slot = std::move(grad);
  } else {  // both are seen elsewhere (an operator may return dy itself)
    Tensor sum = Tensor::like(slot);
    kernels::add_scaled(slot, 1, grad, 1, sum);
    slot = std::move(sum);
  }
}
}  // namespace

void backward(const Var& loss, const Tensor& seed) {
  using NodePtr = std::shared_ptr<Var::Node>;
  if (!loss.needs_grad())
    throw ArgumentError("backward: the loss depends on no parameter (or was computed without gradients)");
  if (loss.value().numel() != 1)
    throw ArgumentError(fmt::format("backward: expected a loss of one element, got {}", to_string(loss.shape())));

  // Children before parents (post-order), without recursion: networks are hundreds of operators deep.
  std::vector<NodePtr> order;
  std::unordered_set<const Var::Node*> seen;
  std::vector<std::pair<NodePtr, size_t>> stack{{loss.node_, 0}};
  seen.insert(loss.node_.get());
  while (!stack.empty()) {
    auto& [node, next] = stack.back();
    if (next == node->inputs.size()) {
      order.push_back(node);
      stack.pop_back();
      continue;
    }
    const NodePtr& input = node->inputs[next++];
    if (input && seen.insert(input.get()).second) stack.emplace_back(input, 0);
  }

  // Of leaves that somebody watches: how many operators that read them are still to come.
  std::unordered_map<const Var::Node*, int64_t> readers;
  for (const NodePtr& node : order)
    for (const NodePtr& input : node->inputs)
      if (input && input->on_gradient) ++readers[input.get()];
  const auto has_passed = [&](const std::vector<NodePtr>& inputs) {
    if (readers.empty()) return;
    for (const NodePtr& input : inputs)
      if (input && input->on_gradient && --readers.at(input.get()) == 0) input->on_gradient();
  };

  Tensor start = Tensor::like(loss.value());
  if (seed.defined())
    start.copy_from(seed);
  else
    kernels::fill(start, 1);
  accumulate(loss.node_->grad, std::move(start));

  while (!order.empty()) {
    const NodePtr node = std::move(order.back());
    order.pop_back();
    if (node->leaf) continue;     // complete
    if (!node->grad.defined()) {  // nothing flows here
      has_passed(node->inputs);
      continue;
    }
    if (!node->backward)
      throw ArgumentError(fmt::format("backward: {} has been used by an earlier backward pass", node->op));
    const Tensor dy = std::move(node->grad);
    node->grad = Tensor();
    const FunctionScope scope(node->op, dy.device(), node->module);
    Grads grads = node->backward(dy);
    node->backward = nullptr;  // releases the saved tensors
    const std::vector<NodePtr> inputs = std::move(node->inputs);
    node->inputs.clear();
    if (grads.size() != inputs.size())
      throw Error(
          fmt::format("{}: its backward pass gave {} gradients for {} inputs", node->op, grads.size(), inputs.size()));
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!inputs[i] || !grads[i].defined()) continue;
      if (grads[i].shape() != inputs[i]->shape)
        throw Error(fmt::format("{}: gradient {} is {}, its input is {}", node->op, i, to_string(grads[i].shape()),
                                to_string(inputs[i]->shape)));
      accumulate(inputs[i]->grad, std::move(grads[i]));
    }
    has_passed(inputs);
  }
}

}  // namespace segrt
