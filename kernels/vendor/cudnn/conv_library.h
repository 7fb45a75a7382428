// cuDNN's convolutions as kernels/vendor/decisions.h asks for a library.
#pragma once

#include "kernels/vendor/cudnn/plan_choice.h"
#include "kernels/vendor/decisions.h"

namespace segrt::kernels::vendor::cudnn {

class ConvLibrary {
 public:
  using Problem = ConvProblem;
  using Plan = cudnn::Plan;
  using Bindings = std::vector<Plan::Binding>;

  explicit ConvLibrary(Device& device);  // throws DeviceError without a usable cuDNN
  static const char* name() { return "cuDNN"; }
  std::string tag() const;
  Candidates<Plan> candidates(const ConvProblem& problem) const { return candidates_of(problem, target_); }
  std::optional<Plan> restored(const ConvProblem&, const std::string& json) const {
    return restored_plan(json, target_);
  }
  void run(const Plan& plan, const Bindings& bindings) const;

 private:
  Device& device_;
  Target target_;
};

using ConvPlans = Decisions<ConvLibrary>;

}  // namespace segrt::kernels::vendor::cudnn
