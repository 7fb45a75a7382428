#include "kernels/vendor/cudnn/plan_choice.h"

namespace segrt::kernels::vendor::cudnn {
namespace {
constexpr int kListedEngines = 32;
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

Candidates<Plan> candidates_of(const ConvProblem& problem, const Target& target) {
  return [problem, &target](const Consider<Plan>& consider) {
    for_each_plan(problem, target, PlanLimits::of(problem), [&](const Engine& engine, Plan plan) {
      return consider({std::move(plan), describe(engine), engine.runtime_compiled()});
    });
  };
}

std::optional<Plan> restored_plan(const std::string& json, const Target& target) {
  try {
    return Plan::from_json(json, target);
  } catch (const CudnnError&) {
    return std::nullopt;
  }
}

}  // namespace segrt::kernels::vendor::cudnn
