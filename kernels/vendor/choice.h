// Which of a vendor library's plans, or our own kernel, computes a problem: the rule, for every library. Nothing here
// needs a GPU but what measures.
//
// A library has a type Plan: an engine made ready for one problem, with text_of(plan) (for the file of choices; found
// beside the type) and plan.workspace_bytes().
#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <string>

#include "core/error.h"
#include "kernels/vendor/choice_file.h"

namespace segrt::kernels::vendor {

// A library turned something down.
class VendorError : public DeviceError {
 public:
  using DeviceError::DeviceError;
};

template <typename Plan>
struct Candidate {
  Plan plan;
  std::string engine;     // for people
  bool compiled = false;  // at run time, which took seconds
};

// Plans in the library's order of preference; `consider` says whether to go on.
template <typename Plan>
using Consider = std::function<bool(Candidate<Plan>)>;
template <typename Plan>
using Candidates = std::function<void(const Consider<Plan>& consider)>;

// Milliseconds of a plan, or of our own kernel for null. It need not be exact far above `best_ms`. A VendorError drops
// the plan.
template <typename Plan>
using Measure = std::function<double(const Plan* plan, double best_ms)>;

template <typename Plan>
struct Chosen {
  std::optional<Plan> plan;  // none: our own kernel
  Choice choice;             // what is known of it, as it is kept on disk
};

// The first of the library's order. It does not depend on the clock.
template <typename Plan>
Chosen<Plan> first_of(const Candidates<Plan>& candidates) {
  Chosen<Plan> first;
  candidates([&](Candidate<Plan> candidate) {
    first.plan = std::move(candidate.plan);
    first.choice.engine = candidate.engine;
    return false;
  });
  return first;
}

constexpr int kTimedPlans = 10, kTimedCompiled = 3;

// The fastest of our own kernel and up to ten plans, at most three of them run-time compiled.
template <typename Plan>
Chosen<Plan> fastest_of(const Candidates<Plan>& candidates, const Measure<Plan>& measure) {
  Chosen<Plan> best;
  double best_ms = measure(nullptr, std::numeric_limits<double>::infinity());
  best.choice.own_ms = best_ms;
  int timed = 0, compiled = 0;
  candidates([&](Candidate<Plan> candidate) {
    double ms = 0;
    try {
      ms = measure(&candidate.plan, best_ms);
    } catch (const VendorError&) {  // refused at its first execution
      return true;
    }
    if (best.choice.plan_ms == 0 || ms < best.choice.plan_ms) best.choice.plan_ms = ms;
    if (ms < best_ms) {
      best_ms = ms;
      best.choice.engine = candidate.engine;
      best.plan = std::move(candidate.plan);
    }
    compiled += candidate.compiled;
    return ++timed < kTimedPlans && compiled < kTimedCompiled;
  });
  try {
    if (best.plan) best.choice.plan = text_of(*best.plan);
  } catch (const VendorError&) {  // no plan without a text is known; its problem would be measured anew in each run
  }
  return best;
}

}  // namespace segrt::kernels::vendor
