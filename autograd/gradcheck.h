// Checks an operator's backward pass against central differences, in float64 on the CPU.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/tape.h"

namespace segrt {

struct GradcheckResult {
  double worst = 0;   // largest |analytic - numeric| / max(1, |numeric|) over all elements of all inputs
  std::string where;  // "input 1, element 17: analytic 0.25, numeric 0.5"
};

// f maps the inputs (f64, CPU) to one tensor of any shape, without randomness. Its output is contracted with fixed
// pseudo-random weights, and every element of every input is moved by +-step.
GradcheckResult gradcheck(const std::function<Var(const std::vector<Var>&)>& f, const std::vector<Tensor>& inputs,
                          double step = 1e-6);

}  // namespace segrt
