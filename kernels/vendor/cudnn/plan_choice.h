// Which of cuDNN's plans may compute a convolution. Needs no GPU.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "kernels/vendor/choice.h"
#include "kernels/vendor/cudnn/plan.h"

namespace segrt::kernels::vendor::cudnn {

struct PlanLimits {
  size_t workspace_bytes = 0;    // at most
  bool runtime_compiled = true;  // whether engines are considered that take seconds to compile

  // What is given to a problem: 512 MiB, and compilation where there is enough to compute.
  static PlanLimits of(const ConvProblem& problem);
};

// Plans for the problem that keep its promises, in cuDNN's order: mode A, then its fallback. `consider` is called with
// each and says whether to go on. Engines that turn the problem down when it comes to building are passed over. Returns
// how many were considered.
int for_each_plan(const ConvProblem& problem, const Target& target, const PlanLimits& limits,
                  const std::function<bool(const Engine&, Plan)>& consider);

// The same for kernels/vendor/choice.h, within the problem's limits. `target` outlives it.
Candidates<Plan> candidates_of(const ConvProblem& problem, const Target& target);

// What was chosen in another run; nothing where cuDNN does not take the plan any more.
std::optional<Plan> restored_plan(const std::string& json, const Target& target);

}  // namespace segrt::kernels::vendor::cudnn
