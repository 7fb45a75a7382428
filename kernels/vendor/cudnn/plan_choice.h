// Which plan, or our own kernel, computes a problem. Nothing here needs a GPU but what measures.
#pragma once

#include <functional>
#include <optional>

#include "kernels/vendor/cudnn/plan.h"
#include "kernels/vendor/cudnn/plan_file.h"

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

struct ChosenPlan {
  std::optional<Plan> plan;  // none: our own kernel
  PlanFile::Choice choice;   // what is known of it, as it is kept on disk
};

// The first of cuDNN's order. It does not depend on the clock.
ChosenPlan first_plan(const ConvProblem& problem, const Target& target);

// Milliseconds of a plan, or of our own kernel for null. It need not be exact far above `best_ms`. A CudnnError drops
// the plan.
using Measure = std::function<double(const Plan* plan, double best_ms)>;
// The fastest of our own kernel and up to ten plans, at most three of them run-time compiled.
ChosenPlan fastest_plan(const ConvProblem& problem, const Target& target, const Measure& measure);

// What was chosen in another run; nothing where cuDNN does not take the plan any more.
std::optional<ChosenPlan> restored_plan(const PlanFile::Choice& kept, const Target& target);

}  // namespace segrt::kernels::vendor::cudnn
