// A tree of named parts. A module owns its parameters, buffers and children; the path of a tensor from the root
// ("layer3.0.conv1.weight") is its upstream state_dict name.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/tape.h"
#include "core/op_scope.h"
#include "core/random.h"
#include "nn/init.h"

namespace segrt::nn {

struct Parameter {
  std::string name;     // within its module: "weight"
  Var var;              // f32
  bool trained = true;  // false: part of the state, but the optimizer leaves it alone (DRN's up.weight)
};

// A tensor that is state but not trained: running statistics, counters.
struct Buffer {
  std::string name;
  Tensor tensor;
  bool optional = false;  // may be absent from a checkpoint (num_batches_tracked in files of 2017)
};

class Module {
 public:
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  // The whole subtree in state_dict order: a module's parameters, its buffers, then its children in order of creation.
  // Paths are relative to this module.
  void visit_parameters(const std::function<void(const std::string& path, Parameter&)>& f);
  void visit_buffers(const std::function<void(const std::string& path, Buffer&)>& f);
  void visit_modules(const std::function<void(const std::string& path, Module&)>& f);
  // Parameters and buffers interleaved as state_dict lists them; exactly one of the pointers is set.
  struct StateEntry {
    std::string path;
    Parameter* parameter;
    Buffer* buffer;
  };
  std::vector<StateEntry> state();

  // Training mode: batch statistics, dropout. Applies to the subtree.
  void set_training(bool on);
  bool training() const { return training_; }
  // What dropout and stochastic depth draw follows from where samples stand in the batch of all processes. Applies to
  // the subtree.
  void set_sample_share(const SampleShare& share);
  const SampleShare& sample_share() const { return sample_share_; }
  void clear_grads();
  void round_grads();  // Var::round_grad of every parameter
  int64_t parameter_count();  // elements of all parameters, trained or not
  // From the root: "layer3.0.conv1"; of a root, its own name or "network". For scopes, whose trees are complete.
  const std::string& path() const;

  // Constructs a T(args...) as child `name` and returns it; the module owns it.
  template <typename T, typename... Args>
  T& child(std::string name, Args&&... args) {
    auto owned = std::make_unique<T>(std::forward<Args>(args)...);
    T& reference = *owned;
    adopt(std::move(name), std::move(owned));
    return reference;
  }
  template <typename T>
  T& child(std::string name, const typename T::Options& options, Init& init) {
    auto owned = std::make_unique<T>(options, init);
    T& reference = *owned;
    adopt(std::move(name), std::move(owned));
    return reference;
  }

 protected:
  Module() = default;
  explicit Module(std::string name) : name_(std::move(name)) {}

  Var& parameter(std::string name, Tensor value, bool trained = true);
  Tensor& buffer(std::string name, Tensor value, bool optional = false);

 private:
  struct Child {
    std::string name;
    std::unique_ptr<Module> module;
  };
  void adopt(std::string name, std::unique_ptr<Module> module);

  // unique_ptr keeps references to members valid while the lists grow.
  std::vector<std::unique_ptr<Parameter>> parameters_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<Child> children_;
  bool training_ = false;
  SampleShare sample_share_;
  std::string name_;  // as a child; of a root, what it calls itself
  const Module* parent_ = nullptr;
  mutable std::string path_;  // made on first use
};

// Open while a module runs: `const ModuleScope scope(*this, "conv2d", x.device());`.
class ModuleScope final : public PartScope {
 public:
  ModuleScope(const Module& module, std::string_view kind, Device& device) : PartScope(module.path(), kind, device) {}
};

// A module of nothing but children, as nn.Sequential's: named 0, 1, 2, ..., where a ReLU takes a number and has no
// child.
class Sequence final : public Module {
 public:
  Sequence() = default;
};

}  // namespace segrt::nn
