// Who computes which convolution on a GPU: for each problem one of cuDNN's plans or our own kernel. Chosen once, by
// timing them on the tensors at hand, and kept with the device and on disk (plan_file.h).
//
// A deterministic device takes the first engine of cuDNN's order that promises the same bits in every run, without
// timing and without the file: what a stopwatch decides may be decided otherwise tomorrow.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/device.h"
#include "kernels/vendor/cudnn/plan_choice.h"
#include "kernels/vendor/cudnn_conv.h"

namespace segrt::kernels::vendor::cudnn {

// The same problem for both sides, on memory that may be overwritten again and again.
struct Trial {
  std::vector<Plan::Binding> bindings;
  std::function<void()> own;    // our kernel
  std::vector<Tensor> scratch;  // that bindings and own write to
};

class ConvPlans {
 public:
  explicit ConvPlans(Device& device);  // throws nothing: without a usable cuDNN it says so and finds no plans

  // The plan to compute the problem with, or null where our own kernel shall do it. Problems met for the first time are
  // decided here, which takes up to seconds and waits for the device; not while work is captured into a graph, when
  // only what is decided counts.
  const Plan* find(const ConvProblem& problem, const std::function<Trial()>& make_trial);
  // Queues it on the compute stream, or into the capture.
  void run(const Plan& plan, const std::vector<Plan::Binding>& bindings);

  std::vector<ConvChoice> choices() const;

 private:
  ChosenPlan decide(const ConvProblem& problem, const std::function<Trial()>& make_trial);
  std::optional<ChosenPlan> restore(const std::string& text);
  ChosenPlan fastest(const ConvProblem& problem, const Trial& trial);
  void report_warning();

  Device& device_;
  cudnnHandle_t handle_ = nullptr;
  std::optional<PlanFile> file_;
  struct Decision {
    std::string problem;
    ChosenPlan chosen;
  };
  std::map<ConvKey, Decision> decisions_;
};

}  // namespace segrt::kernels::vendor::cudnn
