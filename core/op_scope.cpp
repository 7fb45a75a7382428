#include "core/op_scope.h"

#include <algorithm>

namespace segrt {

Scope::Scope(Device& device, Kind kind, std::string_view name, std::string_view label, const std::string* module,
             bool backward, const Tensor* output)
    : stack_(device.state<ScopeStack>()),
      parent_(stack_.innermost_),
      kind_(kind),
      backward_(backward || (parent_ != nullptr && parent_->backward_)),
      name_(name),
      label_(label),
      output_(output) {
  if (module != nullptr)
    module_ = *module;
  else if (parent_ != nullptr)
    module_ = parent_->module_;
  stack_.innermost_ = this;
}

Scope::~Scope() {
  if (entered_)
    for (auto it = stack_.listeners_.rbegin(); it != stack_.listeners_.rend(); ++it) (*it)->leave(*this);
  stack_.innermost_ = parent_;
}

bool Scope::heard() const { return !stack_.listeners_.empty(); }

void Scope::enter(const OpWork& work) {
  work_ = work;
  entered_ = true;
  for (ScopeListener* listener : stack_.listeners_) listener->enter(*this);
}

bool ScopeStack::needs_every_op() const {
  return std::any_of(listeners_.begin(), listeners_.end(), [](const auto* l) { return l->needs_every_op(); });
}

bool watched(Device& device) {
  return device.observer || device.op_observer || device.state<ScopeStack>().needs_every_op();
}

std::string describe(const Scope* scope) {
  if (scope == nullptr) return {};
  const std::string module(scope->module());
  if (scope->kind() == Scope::Kind::module) return std::string(scope->label()) + " " + module;
  std::string text(scope->name());
  if (scope->backward()) text += " (backward)";
  return module.empty() ? text : text + (scope->backward() ? " of " : " in ") + module;
}

}  // namespace segrt
