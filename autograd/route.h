// Differentiable parts of the routing decisions; formulas in kernels/routing.h.
#pragma once

#include "autograd/tape.h"
#include "kernels/routing.h"

namespace segrt::autograd {

// gates [N,S] -> factors [N,1+S]; the first column carries no gradient. flags: see kernels::route_gates.
Var route_gates(const Var& gates, Tensor* flags = nullptr);

// gates [N,T] -> expected cost [N].
Var expected_cost(const Var& gates, const kernels::RoutingCosts& costs);

}  // namespace segrt::autograd
