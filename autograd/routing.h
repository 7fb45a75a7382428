// Differentiable operators of dynamic routing: a cell's gate, the factors that follow from it, the gated sum of paths
// and the expected cost; formulas in kernels/gate.h, kernels/gated_sum.h and kernels/routing.h.
#pragma once

#include <vector>

#include "autograd/tape.h"
#include "kernels/gated_sum.h"
#include "kernels/routing.h"

namespace segrt::autograd {

// g [N,S] = max(tanh(z), 0), z = conv1x1(mean of y over positions) + bias.  y [N,H,W,K]; weight [S,1,1,K], bias [S] f32
// (f64 with f64 y), as is g. z_out (or nullptr) receives z [N,S].
Var gate(const Var& y, const Var& weight, const Var& bias, Tensor* z_out = nullptr);

// kernels::route_senders; carries no gradient.
void route_senders(const std::vector<kernels::Sender>& senders, Tensor& flags);

// gates [N,S] -> factors [N,1+S]; the first column carries no gradient. flags: see kernels::route_gates.
Var route_gates(const Var& gates, Tensor* flags = nullptr);

struct RoutedTerm {
  Var x;          // [N,P,Q,C], or [N,P/2,Q/2,C] with upsample2
  Var gate = {};  // [N,S]; undefined for a plain term
  int slot = 0;
  bool upsample2 = false;
};
// y [N,P,Q,C] = sum over the 1 to 4 terms, in order. A gate's gradient is 0 for samples whose path is closed.
Var gated_sum(const std::vector<RoutedTerm>& terms);

// gates [N,T] -> expected cost [N].
Var expected_cost(const Var& gates, const kernels::RoutingCosts& costs);

}  // namespace segrt::autograd
