// Differentiable patches of a map; formulas in kernels/patches.h.
#pragma once

#include "autograd/tape.h"

namespace segrt::autograd {

struct Patches {
  Var all;    // [N,H/side,W/side,C*side*side]
  Var means;  // [N,H/side,W/side,C]
};
// Both from one read of x [N,H,W,C], and their gradients go back in one pass; a gradient must reach `all` (where the
// means alone are wanted, avg_pool2d is the operator). side == 1: both are x.
Patches split_patches(const Var& x, int side);
// The first of the two alone: space-to-depth.
Var space_to_depth(const Var& x, int side);

}  // namespace segrt::autograd
