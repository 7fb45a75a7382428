// Reverse-mode automatic differentiation. A Var is a tensor value and, where a gradient is wanted, a node that
// remembers how the value came about. Operators compute their value, then record() a closure that maps the output's
// gradient to the inputs' gradients.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace segrt {

// Gradients in input order; an undefined tensor where an input needs none.
using Grads = std::vector<Tensor>;
using BackwardFn = std::function<Grads(const Tensor& dy)>;
// What types of dy a backward pass takes: that of its value, or also f64 and hands on f64 (autograd/sample_sums.h).
enum class TakesGradient : uint8_t { of_value, of_any_type };

class Var {
 public:
  Var() = default;
  Var(Tensor value)
      : value_(std::move(value)) {}    // a constant; implicit, so that tensors go wherever operators take Vars
  static Var parameter(Tensor value);  // a leaf that collects a gradient

  const Tensor& value() const { return value_; }
  bool defined() const { return value_.defined(); }
  const Shape& shape() const { return value_.shape(); }
  int64_t dim(int i) const { return value_.dim(i); }
  DType dtype() const { return value_.dtype(); }
  Device& device() const { return value_.device(); }

  bool needs_grad() const { return node_ != nullptr; }
  // A leaf's gradient, summed over all backward() calls since clear_grad(); undefined when none has arrived.
  const Tensor& grad() const;
  void set_grad(Tensor grad);
  void clear_grad();
  // Rounds a leaf's gradient that is a sum in f64 (autograd/sample_sums.h) to the value's type.
  void round_grad();
  // f is called in every backward pass that comes by this leaf, once its gradient of that pass is complete, while the
  // pass goes on: what follows may overlap with it. Empty: nobody is.
  void on_gradient(std::function<void()> f) const;
  Var detach() const { return Var(value_); }

  // Mixed precision: an f32 parameter as operators see it that compute in `dtype`, bf16 or f16: the same leaf with its
  // value rounded. Its gradient arrives at the parameter in `dtype`, without a conversion. The rounded copy stays with
  // the parameter, always in the same memory (a recorded step may read it), and is made again when the value's version
  // has moved on.
  Var rounded(DType dtype) const;
  bool is_parameter() const;
  // A parameter, or made of parameters alone by operators that take gradients of any type: nothing of a batch is in it.
  bool is_weight() const;
  // That copy, if there is one and it is that of the current value; whoever then writes both (an optimizer) says so.
  Tensor current_copy(DType dtype) const;
  void copy_is_current(DType dtype) const;
  void refresh_copy(DType dtype) const;  // makes it again if there is one and it is outdated

 private:
  struct Node;
  struct Copy;
  Copy* find_copy(DType dtype) const;
  friend Var record(std::string_view, const std::vector<Var>&, Tensor, BackwardFn, TakesGradient);
  friend void backward(const Var&, const Tensor&);

  Tensor value_;
  std::shared_ptr<Node> node_;
};

// The result of operator `op` with value y. Keeps `backward` and links to the inputs when some input needs a gradient
// and the device's grad_enabled() is set; else a constant. The closure captures tensors, never the Var of its own
// output: that would leak.
Var record(std::string_view op, const std::vector<Var>& inputs, Tensor y, BackwardFn backward,
           TakesGradient takes = TakesGradient::of_value);

// True when an operator over these inputs will be recorded: whether it must keep what its backward pass needs.
bool recording(const std::vector<Var>& inputs);

// Adds seed * d loss / d leaf to every leaf that loss (one element) depends on. Each node's saved tensors and gradient
// are released as soon as they have been used; a second backward through the same nodes throws. seed: like the loss
// (the scale of mixed precision), or undefined: 1.
void backward(const Var& loss, const Tensor& seed = {});

// dy itself when nobody else holds it, so that a gradient kernel may work in place, else a new tensor like it.
Tensor reuse_or_like(const Tensor& dy);

// While it lives, operators on the device record nothing.
class NoGrad {
 public:
  explicit NoGrad(Device& device) : device_(device), before_(device.grad_enabled()) { device.set_grad_enabled(false); }
  ~NoGrad() { device_.set_grad_enabled(before_); }
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  Device& device_;
  bool before_;
};

}  // namespace segrt
