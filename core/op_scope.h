// What a device is doing, for whoever wants to know: profiles, NVTX ranges, the report of a device that is out of
// memory. Modules, differentiable functions and operators open a scope each, so that scopes nest as the work does:
//   module layer3.0.conv1 > function conv2d > op conv2d
//   function conv2d (backward, of layer3.0.conv1) > op conv2d_backward_weight
// A scope that nobody listens to costs a look into a table of the device (some 20 ns).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace segrt {

// What an operator has to do at least, however it is computed.
struct OpWork {
  int64_t bytes = 0;  // each input read once and each output written once
  int64_t flops = 0;  // two a multiply-add; 0 where the arithmetic is next to nothing beside the bytes
};

// Of all tensors given; undefined and absent ones take none.
inline int64_t bytes_of(const Tensor& t) { return t.defined() ? static_cast<int64_t>(t.nbytes()) : 0; }
inline int64_t bytes_of(const Tensor* t) { return t != nullptr ? bytes_of(*t) : 0; }
template <typename... T>
requires(sizeof...(T) > 1) int64_t bytes_of(const T&... tensors) { return (bytes_of(tensors) + ...); }

class ScopeStack;

class Scope {
 public:
  enum class Kind : uint8_t { module, function, op };

  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  Kind kind() const { return kind_; }
  std::string_view name() const { return name_; }      // "layer3.0.conv1", "conv2d", "conv2d_backward_input"
  std::string_view label() const { return label_; }    // a literal: the name; of a module, what it is
  std::string_view module() const { return module_; }  // the path of the innermost module; empty outside of all
  bool backward() const { return backward_; }          // within a backward pass
  const Tensor* output() const { return output_; }     // of an op; null otherwise
  const OpWork& work() const { return work_; }         // of an op, where somebody listens
  const Scope* parent() const { return parent_; }

 protected:
  Scope(Device& device, Kind kind, std::string_view name, std::string_view label, const std::string* module,
        bool backward, const Tensor* output);
  ~Scope();

  bool heard() const;  // whether somebody listens
  void enter(const OpWork& work);

 private:
  ScopeStack& stack_;
  const Scope* parent_;
  Kind kind_;
  bool backward_, entered_ = false;
  std::string_view name_, label_, module_;
  const Tensor* output_;
  OpWork work_;
};

// An operator on raw tensors. Opened by its front (kernels/<op>.cpp) when all arguments have been checked and there is
// something to do. `work` is asked only if somebody listens:
//   const OpScope scope(kOp, y, [&] { return OpWork{bytes_of(x, w, y), 2 * multiply_adds}; });
class OpScope final : public Scope {
 public:
  template <typename Work>
  OpScope(std::string_view op, const Tensor& output, const Work& work)
      : Scope(output.device(), Kind::op, op, op, nullptr, false, &output) {
    if (heard()) enter(work());
  }
};

// A differentiable function (autograd/), forward or backward. `name` is a literal.
class FunctionScope final : public Scope {
 public:
  FunctionScope(std::string_view name, Device& device)
      : Scope(device, Kind::function, name, name, nullptr, false, nullptr) {
    if (heard()) enter({});
  }
  // The backward pass of a function that `module` has called.
  FunctionScope(std::string_view name, Device& device, const std::string& module)
      : Scope(device, Kind::function, name, name, &module, true, nullptr) {
    if (heard()) enter({});
  }
};

// A part of a network: nn::ModuleScope (nn/module.h) opens it. `path` outlives the scope, `kind` is a literal.
class PartScope : public Scope {
 public:
  PartScope(const std::string& path, std::string_view kind, Device& device)
      : Scope(device, Kind::module, path, kind, &path, false, nullptr) {
    if (heard()) enter({});
  }
};

class ScopeListener {
 public:
  virtual ~ScopeListener() = default;
  virtual void enter(const Scope& scope) = 0;
  virtual void leave(const Scope& scope) noexcept = 0;
  // Whether it must see every operator each time: then nothing is replayed from a recorded graph.
  virtual bool needs_every_op() const = 0;
};

// The scopes that are open on a device: device.state<ScopeStack>(). One thread computes on a device at a time.
class ScopeStack {
 public:
  const Scope* innermost() const { return innermost_; }
  void add(ScopeListener& listener) { listeners_.push_back(&listener); }
  void remove(ScopeListener& listener) noexcept { std::erase(listeners_, &listener); }
  bool needs_every_op() const;

 private:
  friend class Scope;
  const Scope* innermost_ = nullptr;
  std::vector<ScopeListener*> listeners_;
};

// Whether somebody looks at every operator or layer of the device, so that all of them must run one by one.
bool watched(Device& device);

// "conv2d in layer3.0.conv1", "conv2d (backward) of layer3.0.conv1"; empty outside of all scopes.
std::string describe(const Scope* scope);

}  // namespace segrt
