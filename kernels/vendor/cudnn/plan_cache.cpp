#include "kernels/vendor/cudnn/plan_cache.h"

#include <fmt/format.h>

#include <cstdio>

#include "core/cuda/cuda_device.h"
#include "core/cuda/library_handles.h"
#include "kernels/vendor/cudnn/event_timer.h"

namespace segrt::kernels::vendor::cudnn {
namespace {
std::string gpu_name(Device& device) { return static_cast<const char*>(cuda_device(device).properties().name); }
}  // namespace

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
  const ConvKey key = key_of(problem);
  auto found = decisions_.find(key);
  if (found == decisions_.end()) {
    if (cuda_device(device_).capturing()) return nullptr;
    found = decisions_.emplace(key, Decision{to_string(problem), decide(problem, make_trial)}).first;
  }
  const std::optional<Plan>& plan = found->second.chosen.plan;
  return plan ? &*plan : nullptr;
}

ChosenPlan ConvPlans::decide(const ConvProblem& problem, const std::function<Trial()>& make_trial) {
  try {
    if (problem.deterministic) return first_plan(problem, {.handle = handle_});
    const std::string text = to_string(problem);
    if (std::optional<ChosenPlan> kept = restore(text)) return std::move(*kept);
    ChosenPlan chosen = fastest(problem, make_trial());
    file_->put(text, chosen.choice);
    report_warning();
    return chosen;
  } catch (const DeviceError& e) {  // no memory to time it, or no graph for it: our own kernel needs less
    fmt::print(stderr, "warning: {} runs without cuDNN: {}\n", to_string(problem), e.what());
    return {};
  }
}

std::optional<ChosenPlan> ConvPlans::restore(const std::string& text) {
  const PlanFile::Choice* kept = file_->find(text);
  if (kept == nullptr) return std::nullopt;
  std::optional<ChosenPlan> chosen = restored_plan(*kept, {.handle = handle_});
  if (!chosen) file_->forget(text);  // of an equal GPU and version, and yet not ours: chosen anew
  return chosen;
}

ChosenPlan ConvPlans::fastest(const ConvProblem& problem, const Trial& trial) {
  EventTimer timer(device_);
  return fastest_plan(problem, {.handle = handle_}, [&](const Plan* plan, double best_ms) {
    return plan == nullptr ? timer.median_ms(trial.own, best_ms)
                           : timer.median_ms([&] { run(*plan, trial.bindings); }, best_ms);
  });
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
  for (const auto& [key, decision] : decisions_) {
    const auto& [problem, chosen] = decision;
    choices.push_back({problem, chosen.plan ? chosen.choice.engine : "", chosen.choice.plan_ms, chosen.choice.own_ms,
                       chosen.plan ? chosen.plan->workspace_bytes() : 0});
  }
  return choices;
}

}  // namespace segrt::kernels::vendor::cudnn
