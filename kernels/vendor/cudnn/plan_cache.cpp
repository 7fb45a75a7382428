#include "kernels/vendor/cudnn/plan_cache.h"

#include <fmt/format.h>

#include <cstdio>
#include <limits>

#include "core/cuda/cuda_device.h"
#include "core/cuda/library_handles.h"
#include "kernels/vendor/cudnn/event_timer.h"

namespace segrt::kernels::vendor::cudnn {
namespace {
// What is timed of cuDNN's order. Run-time compiled engines cost seconds each before they run.
constexpr int kTimedPlans = 10, kTimedCompiled = 3, kListedEngines = 32;
constexpr size_t kWorkspaceLimit = size_t{512} << 20;  // bytes; a split reduction of the largest maps needs about 50 MB
constexpr int64_t kWorthCompiling = int64_t{1} << 26;  // multiply-adds: microseconds on a GPU

PlanLimits limits_of(const ConvProblem& p) {
  return {.workspace_bytes = kWorkspaceLimit, .runtime_compiled = conv2d_multiply_adds(p.y, p.w) >= kWorthCompiling};
}

std::string gpu_name(Device& device) { return static_cast<const char*>(cuda_device(device).properties().name); }
}  // namespace

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

ConvPlans::ConvPlans(Device& device) : device_(device) {
  try {
    handle_ = device.state<CudnnHandle>().get();
  } catch (const DeviceError& e) {
    fmt::print(stderr, "warning: convolutions run without cuDNN: {}\n", e.what());
    return;
  }
  const std::string gpu = gpu_name(device);
  const auto version = static_cast<int64_t>(cudnnGetVersion());
  file_.emplace(PlanFile::default_path(gpu, version), gpu, version);
  report_warning();
}

void ConvPlans::report_warning() {
  if (const std::string warning = file_->take_warning(); !warning.empty()) fmt::print(stderr, "warning: {}\n", warning);
}

const Plan* ConvPlans::find(const ConvProblem& problem, const std::function<Trial()>& make_trial) {
  if (handle_ == nullptr) return nullptr;
  const std::string key = to_string(problem);
  auto found = entries_.find(key);
  if (found == entries_.end()) {
    if (cuda_device(device_).capturing()) return nullptr;
    found = entries_.emplace(key, decide(problem, make_trial)).first;
  }
  const std::optional<Plan>& plan = found->second.plan;
  return plan ? &*plan : nullptr;
}

ConvPlans::Entry ConvPlans::decide(const ConvProblem& problem, const std::function<Trial()>& make_trial) {
  try {
    if (problem.deterministic) return first_of(problem);
    const std::string key = to_string(problem);
    if (std::optional<Entry> kept = restore(key)) return std::move(*kept);
    Entry entry = fastest_of(problem, make_trial());
    file_->put(key, entry.choice);
    report_warning();
    return entry;
  } catch (const DeviceError& e) {  // no memory to time it, or no graph for it: our own kernel needs less
    fmt::print(stderr, "warning: {} runs without cuDNN: {}\n", to_string(problem), e.what());
    return {};
  }
}

std::optional<ConvPlans::Entry> ConvPlans::restore(const std::string& key) {
  const PlanFile::Choice* kept = file_->find(key);
  if (kept == nullptr) return std::nullopt;
  Entry entry{std::nullopt, *kept};
  if (kept->engine.empty()) return entry;
  try {
    entry.plan = Plan::from_json(kept->plan, {.handle = handle_});
    return entry;
  } catch (const CudnnError&) {  // of an equal name and version, and yet not ours: choose anew
    file_->forget(key);
    return std::nullopt;
  }
}

ConvPlans::Entry ConvPlans::first_of(const ConvProblem& problem) {
  Entry entry;
  for_each_plan(problem, {.handle = handle_}, limits_of(problem), [&](const Engine& engine, Plan plan) {
    entry.plan = std::move(plan);
    entry.choice.engine = describe(engine);
    return false;
  });
  return entry;
}

ConvPlans::Entry ConvPlans::fastest_of(const ConvProblem& problem, const Trial& trial) {
  EventTimer timer(device_);
  Entry best;
  best.choice.own_ms = timer.median_ms(trial.own, std::numeric_limits<double>::infinity());
  double best_ms = best.choice.own_ms;
  int timed = 0, compiled = 0;
  for_each_plan(problem, {.handle = handle_}, limits_of(problem), [&](const Engine& engine, Plan plan) {
    double ms = 0;
    try {
      ms = timer.median_ms([&] { run(plan, trial.bindings); }, best_ms);
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
  if (best.plan) best.choice.plan = best.plan->json();
  return best;
}

void ConvPlans::run(const Plan& plan, const std::vector<Plan::Binding>& bindings) {
  // In the body of a captured condition the stream is another.
  require_success(cudnnSetStream(handle_, cuda_stream(device_)), "cudnnSetStream");
  Tensor workspace;
  if (plan.workspace_bytes() > 0)
    workspace = Tensor::empty({static_cast<int64_t>(plan.workspace_bytes())}, DType::u8, device_);
  plan.execute(handle_, bindings, workspace.defined() ? workspace.raw() : nullptr);
}

std::vector<ConvChoice> ConvPlans::choices() const {
  std::vector<ConvChoice> choices;
  for (const auto& [problem, entry] : entries_)
    choices.push_back({problem, entry.plan ? entry.choice.engine : "", entry.choice.plan_ms, entry.choice.own_ms,
                       entry.plan ? entry.plan->workspace_bytes() : 0});
  return choices;
}

}  // namespace segrt::kernels::vendor::cudnn
