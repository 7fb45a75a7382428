// Who computes which problem on a GPU: one of a vendor library's plans or our own kernel. Chosen once, by timing them
// on the tensors at hand, and kept with the device and on disk (choice_file.h). One mechanism for every library.
//
// A deterministic device takes the first of the library's plans that promises the same bits in every run, without
// timing and without the file: what a stopwatch decides may be decided otherwise tomorrow.
//
// A Library is made from a Device& (it throws DeviceError where it cannot be used) and has
//   Problem, Plan, Bindings           with key_of(problem) and to_string(problem) beside the first
//   static const char* name()         for people: "cuDNN"
//   std::string tag()                 name and version, for the file: "cudnn-91900"
//   candidates(problem) -> Candidates<Plan>
//   restored(problem, text) -> std::optional<Plan>     from text_of(plan) of another run
//   run(plan, bindings)               queues it on the compute stream, or into the capture
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/cuda/cuda_device.h"
#include "kernels/vendor/choice.h"
#include "kernels/vendor/event_timer.h"
#include "kernels/vendor_choices.h"

namespace segrt::kernels::vendor {

template <typename Library>
class Decisions {
 public:
  using Problem = typename Library::Problem;
  using Plan = typename Library::Plan;
  using Bindings = typename Library::Bindings;

  // The same problem for both sides, on memory that may be overwritten again and again.
  struct Trial {
    Bindings bindings;
    std::function<void()> own;                        // what there is without the library; holds what it writes to
    std::function<void(const Bindings&)> after = {};  // what must follow a plan
  };

  explicit Decisions(Device& device) : device_(device) {  // throws nothing: without the library there are no plans
    try {
      library_.emplace(device);
    } catch (const DeviceError& e) {
      warn(fmt::format("our own kernels run without {}: {}", Library::name(), e.what()));
      return;
    }
    const std::string gpu = static_cast<const char*>(cuda_device(device).properties().name);
    file_.emplace(ChoiceFile::default_path(gpu, library_->tag()), gpu, library_->tag());
    warn(file_->take_warning());
  }

  // The plan to compute the problem with, or null where our own kernel shall do it. Problems met for the first time are
  // decided here, which takes up to seconds and waits for the device; not while work is captured into a graph, when
  // only what is decided counts.
  const Plan* find(const Problem& problem, const std::function<Trial()>& make_trial) {
    if (!library_) return nullptr;
    const auto key = key_of(problem);
    auto found = decisions_.find(key);
    if (found == decisions_.end()) {
      if (cuda_device(device_).capturing()) return nullptr;
      Chosen<Plan> chosen = decide(problem, make_trial);
      found = decisions_.emplace(key, Decision{to_string(problem), std::move(chosen)}).first;
    }
    const std::optional<Plan>& plan = found->second.chosen.plan;
    return plan ? &*plan : nullptr;
  }

  void run(const Plan& plan, const Bindings& bindings) { library_->run(plan, bindings); }

  // Finds and runs. False: our own kernel shall do it, and nothing was written.
  bool compute(const Problem& problem, const Bindings& bindings, const std::function<Trial()>& make_trial) {
    const Plan* plan = find(problem, make_trial);
    if (plan == nullptr) return false;
    run(*plan, bindings);
    return true;
  }

  std::vector<VendorChoice> choices() const {
    std::vector<VendorChoice> choices;
    for (const auto& [key, decision] : decisions_) {
      const auto& [problem, chosen] = decision;
      choices.push_back({Library::name(), problem, chosen.plan ? chosen.choice.engine : "", chosen.choice.plan_ms,
                         chosen.choice.own_ms, chosen.plan ? chosen.plan->workspace_bytes() : 0});
    }
    return choices;
  }

 private:
  struct Decision {
    std::string problem;
    Chosen<Plan> chosen;
  };

  static void warn(const std::string& text) {
    if (!text.empty()) fmt::print(stderr, "warning: {}\n", text);
  }

  Chosen<Plan> decide(const Problem& problem, const std::function<Trial()>& make_trial) {
    try {
      if (problem.deterministic) return first_of<Plan>(library_->candidates(problem));
      const std::string text = to_string(problem);
      if (std::optional<Chosen<Plan>> kept = restore(problem, text)) return std::move(*kept);
      Chosen<Plan> chosen = fastest(problem, make_trial());
      file_->put(text, chosen.choice);
      warn(file_->take_warning());
      return chosen;
    } catch (const DeviceError& e) {  // no memory to time it, or refused altogether: our own kernel needs less
      warn(fmt::format("{} runs without {}: {}", to_string(problem), Library::name(), e.what()));
      return {};
    }
  }

  std::optional<Chosen<Plan>> restore(const Problem& problem, const std::string& text) {
    const Choice* kept = file_->find(text);
    if (kept == nullptr) return std::nullopt;
    if (kept->engine.empty()) return Chosen<Plan>{std::nullopt, *kept};
    if (std::optional<Plan> plan = library_->restored(problem, kept->plan)) return Chosen<Plan>{std::move(plan), *kept};
    file_->forget(text);  // of an equal GPU and version, and yet not ours: chosen anew
    return std::nullopt;
  }

  Chosen<Plan> fastest(const Problem& problem, const Trial& trial) {
    EventTimer timer(device_);
    return fastest_of<Plan>(library_->candidates(problem), [&](const Plan* plan, double best_ms) {
      if (plan == nullptr) return timer.median_ms(trial.own, best_ms);
      return timer.median_ms(
          [&] {
            run(*plan, trial.bindings);
            if (trial.after) trial.after(trial.bindings);
          },
          best_ms);
    });
  }

  Device& device_;
  std::optional<Library> library_;
  std::optional<ChoiceFile> file_;
  std::map<decltype(key_of(std::declval<const Problem&>())), Decision> decisions_;
};

}  // namespace segrt::kernels::vendor
