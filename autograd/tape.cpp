#include "autograd/tape.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "core/error.h"
#include "core/op_scope.h"
#include "kernels/elementwise.h"

namespace segrt {

struct Var::Node {
  std::string_view op;                        // a literal
  std::string module;                         // that called it, for scopes
  std::vector<std::shared_ptr<Node>> inputs;  // null where the input needs no gradient
  BackwardFn backward;                        // empty for a leaf, and once consumed
  Tensor grad;
  Shape shape;
  bool leaf = false;
};

Var Var::parameter(Tensor value) {
  Var v(std::move(value));
  v.node_ = std::make_shared<Node>();
  v.node_->op = "parameter";
  v.node_->shape = v.value_.shape();
  v.node_->leaf = true;
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

void Var::clear_grad() {
  if (node_) node_->grad = Tensor();
}

bool recording(const std::vector<Var>& inputs) {
  return std::any_of(inputs.begin(), inputs.end(),
                     [](const Var& v) { return v.needs_grad() && v.device().grad_enabled(); });
}

Var record(std::string_view op, const std::vector<Var>& inputs, Tensor y, BackwardFn backward) {
  Var result(std::move(y));
  if (!recording(inputs)) return result;
  result.node_ = std::make_shared<Var::Node>();
  result.node_->op = op;
  if (const Scope* scope = result.device().state<ScopeStack>().innermost()) result.node_->module = scope->module();
  result.node_->shape = result.shape();
  result.node_->backward = std::move(backward);
  result.node_->inputs.reserve(inputs.size());
  for (const Var& input : inputs) result.node_->inputs.push_back(input.node_);
  return result;
}

Tensor reuse_or_like(const Tensor& dy) { return dy.use_count() == 1 ? dy : Tensor::like(dy); }

namespace {
void accumulate(Tensor& slot, Tensor grad) {
  if (!slot.defined()) {
    slot = std::move(grad);
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

void backward(const Var& loss) {
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

  Tensor seed = Tensor::like(loss.value());
  kernels::fill(seed, 1);
  accumulate(loss.node_->grad, std::move(seed));

  while (!order.empty()) {
    const NodePtr node = std::move(order.back());
    order.pop_back();
    if (node->leaf || !node->grad.defined()) continue;  // complete, or nothing flows here
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
  }
}

}  // namespace segrt
