#include "kernels/vendor/cudnn/plan_choice.h"

#include <limits>

namespace segrt::kernels::vendor::cudnn {
namespace {
// What is timed of cuDNN's order. Run-time compiled engines cost seconds each before they run.
constexpr int kTimedPlans = 10, kTimedCompiled = 3, kListedEngines = 32;
constexpr int64_t kWorthCompiling = int64_t{1} << 26;  // multiply-adds: less takes a GPU microseconds
}  // namespace

PlanLimits PlanLimits::of(const ConvProblem& p) {
  return {.workspace_bytes = size_t{512} << 20,  // split reductions of the largest maps ask for about 50 MB
          .runtime_compiled = conv2d_multiply_adds(p.y, p.w) >= kWorthCompiling};
}

int for_each_plan(const ConvProblem& problem, const Target& target, const PlanLimits& limits,
                  const std::function<bool(const Engine&, Plan)>& consider) {
  const ConvGraph graph(problem, target.handle);
  int count = 0;
  for (const Heuristics mode : {Heuristics::mode_a, Heuristics::fallback})
    for (const Engine& engine : find_engines(graph, target, mode, kListedEngines)) {
      if (!keeps_promises(engine, problem) || (engine.runtime_compiled() && !limits.runtime_compiled)) continue;
      std::optional<Plan> plan;
      try {
        plan = Plan::build(engine, target);
      } catch (const CudnnError&) {  // not supported after all, or its code does not compile: the next one
        continue;
      }
      if (plan->workspace_bytes() > limits.workspace_bytes) continue;
      ++count;
      if (!consider(engine, std::move(*plan))) return count;
    }
  return count;
}

ChosenPlan first_plan(const ConvProblem& problem, const Target& target) {
  ChosenPlan first;
  for_each_plan(problem, target, PlanLimits::of(problem), [&](const Engine& engine, Plan plan) {
    first.plan = std::move(plan);
    first.choice.engine = describe(engine);
    return false;
  });
  return first;
}

ChosenPlan fastest_plan(const ConvProblem& problem, const Target& target, const Measure& measure) {
  ChosenPlan best;
  double best_ms = measure(nullptr, std::numeric_limits<double>::infinity());
  best.choice.own_ms = best_ms;
  int timed = 0, compiled = 0;
  for_each_plan(problem, target, PlanLimits::of(problem), [&](const Engine& engine, Plan plan) {
    double ms = 0;
    try {
      ms = measure(&plan, best_ms);
    } catch (const CudnnError&) {  // refused at its first execution
      return true;
    }
    if (best.choice.plan_ms == 0 || ms < best.choice.plan_ms) best.choice.plan_ms = ms;
    if (ms < best_ms) {
      best_ms = ms;
      best.choice.engine = describe(engine);
      best.plan = std::move(plan);
    }
    compiled += engine.runtime_compiled();
    return ++timed < kTimedPlans && compiled < kTimedCompiled;
  });
  try {
    if (best.plan) best.choice.plan = best.plan->json();
  } catch (const CudnnError&) {  // no engine without JSON is known; its problem would be measured anew in each run
  }
  return best;
}

std::optional<ChosenPlan> restored_plan(const PlanFile::Choice& kept, const Target& target) {
  ChosenPlan chosen{std::nullopt, kept};
  if (kept.engine.empty()) return chosen;
  try {
    chosen.plan = Plan::from_json(kept.plan, target);
    return chosen;
  } catch (const CudnnError&) {
    return std::nullopt;
  }
}

}  // namespace segrt::kernels::vendor::cudnn
