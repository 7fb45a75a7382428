#include "nn/module.h"

#include "core/error.h"

namespace segrt::nn {
namespace {
std::string joined(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}
}  // namespace

void Module::visit_modules(const std::function<void(const std::string&, Module&)>& f) {
  f("", *this);
  for (const Child& c : children_)
    c.module->visit_modules(
        [&](const std::string& path, Module& m) { f(path.empty() ? c.name : c.name + "." + path, m); });
}

void Module::visit_parameters(const std::function<void(const std::string&, Parameter&)>& f) {
  visit_modules([&](const std::string& path, Module& m) {
    for (const auto& p : m.parameters_) f(joined(path, p->name), *p);
  });
}

void Module::visit_buffers(const std::function<void(const std::string&, Buffer&)>& f) {
  visit_modules([&](const std::string& path, Module& m) {
    for (const auto& b : m.buffers_) f(joined(path, b->name), *b);
  });
}

std::vector<Module::StateEntry> Module::state() {
  std::vector<StateEntry> entries;
  visit_modules([&](const std::string& path, Module& m) {
    for (const auto& p : m.parameters_) entries.push_back({joined(path, p->name), p.get(), nullptr});
    for (const auto& b : m.buffers_) entries.push_back({joined(path, b->name), nullptr, b.get()});
  });
  return entries;
}

const std::string& Module::path() const {
  if (!path_.empty()) return path_;
  if (parent_ == nullptr) return path_ = name_.empty() ? "network" : name_;
  return path_ = parent_->parent_ == nullptr ? name_ : joined(parent_->path(), name_);
}

void Module::set_training(bool on) {
  visit_modules([on](const std::string&, Module& m) { m.training_ = on; });
}

void Module::set_sample_share(const SampleShare& share) {
  visit_modules([&share](const std::string&, Module& m) { m.sample_share_ = share; });
}

void Module::round_grads() {
  visit_parameters([](const std::string&, Parameter& p) { p.var.round_grad(); });
}

void Module::clear_grads() {
  visit_parameters([](const std::string&, Parameter& p) { p.var.clear_grad(); });
}

int64_t Module::parameter_count() {
  int64_t count = 0;
  visit_parameters([&](const std::string&, Parameter& p) { count += p.var.value().numel(); });
  return count;
}

Var& Module::parameter(std::string name, Tensor value, bool trained) {
  Var var = trained ? Var::parameter(std::move(value)) : Var(std::move(value));
  parameters_.push_back(std::make_unique<Parameter>(Parameter{std::move(name), std::move(var), trained}));
  return parameters_.back()->var;
}

Tensor& Module::buffer(std::string name, Tensor value, bool optional) {
  buffers_.push_back(std::make_unique<Buffer>(Buffer{std::move(name), std::move(value), optional}));
  return buffers_.back()->tensor;
}

void Module::adopt(std::string name, std::unique_ptr<Module> module) {
  for (const Child& c : children_)
    if (c.name == name) throw ArgumentError("module: two children named " + name);
  module->name_ = name;
  module->parent_ = this;
  children_.push_back({std::move(name), std::move(module)});
}

}  // namespace segrt::nn
