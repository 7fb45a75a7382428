// Who computes a convolution, decided from made-up times: plans are made for a described GPU and never run.
#if SEGRT_HAS_CUDNN
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "kernels/vendor/cudnn/plan_choice.h"
#include "tests/support/tensors.h"

namespace segrt::kernels::vendor::cudnn {
namespace {
ConvProblem plain(DType dtype = DType::bf16) {
  return {.op = ConvOp::backward_weight,
          .dtype = dtype,
          .x = {8, 28, 28, 64},
          .w = {64, 3, 3, 64},
          .y = {8, 28, 28, 64},
          .g = ConvGeometry::square({.padding = 1})};
}

// The times of successive plans; own_ms for our own kernel. A negative time is a plan that fails when it runs.
struct Times {
  double own_ms;
  std::vector<double> plan_ms;
  size_t plans = 0;
  std::vector<std::string> seen = {};

  double operator()(const Plan* plan) {
    if (plan == nullptr) return own_ms;
    seen.push_back(plan->json());
    const double ms = plan_ms[std::min(plans++, plan_ms.size() - 1)];
    if (ms < 0) throw CudnnError(CUDNN_STATUS_EXECUTION_FAILED, "made up");
    return ms;
  }
};

Chosen<Plan> choose(const ConvProblem& problem, Times& times) {
  const DeviceProperties gpu = DeviceProperties::h100();
  const Target target{.properties = &gpu};
  return fastest_of<Plan>(candidates_of(problem, target), [&](const Plan* plan, double) { return times(plan); });
}

Chosen<Plan> first_plan(const ConvProblem& problem) {
  const DeviceProperties gpu = DeviceProperties::h100();
  const Target target{.properties = &gpu};
  return first_of<Plan>(candidates_of(problem, target));
}
}  // namespace

TEST_CASE("the fastest of our own kernel and ten plans is chosen") {
  Times third{.own_ms = 5, .plan_ms = {4, 3, 1, 2}};
  const Chosen<Plan> chosen = choose(plain(), third);
  CHECK(third.plans == 10);
  REQUIRE(chosen.plan.has_value());
  CHECK(chosen.plan->json() == third.seen[2]);
  CHECK(chosen.choice.plan == third.seen[2]);
  CHECK(chosen.choice.engine.starts_with("engine "));
  CHECK(chosen.choice.plan_ms == 1);
  CHECK(chosen.choice.own_ms == 5);

  Times own{.own_ms = 0.5, .plan_ms = {4, 3, 1, 2}};
  const Chosen<Plan> ours = choose(plain(), own);
  CHECK(!ours.plan.has_value());
  CHECK(ours.choice.engine == "");
  CHECK(ours.choice.plan_ms == 1);
  CHECK(ours.choice.own_ms == 0.5);

  Times failing{.own_ms = 5, .plan_ms = {-1, -1, 4, -1, 3, 6}};
  const Chosen<Plan> survivor = choose(plain(), failing);
  REQUIRE(survivor.plan.has_value());
  CHECK(survivor.plan->json() == failing.seen[4]);

  Times hopeless{.own_ms = 5, .plan_ms = {-1}};
  CHECK(!choose(plain(), hopeless).plan.has_value());
}

TEST_CASE("a choice is restored from what was kept of it, and only from that") {
  const DeviceProperties gpu = DeviceProperties::h100();
  const Target target{.properties = &gpu};
  Times times{.own_ms = 5, .plan_ms = {4, 3, 1, 2}};
  const Chosen<Plan> chosen = choose(plain(), times);
  const std::optional<Plan> again = restored_plan(chosen.choice.plan, target);
  REQUIRE(again.has_value());
  CHECK(again->json() == chosen.plan->json());
  CHECK(again->workspace_bytes() == chosen.plan->workspace_bytes());
  std::string damaged = chosen.choice.plan;
  damaged.resize(damaged.size() / 2);
  CHECK(!restored_plan(damaged, target).has_value());
  CHECK(!restored_plan("", target).has_value());
}

TEST_CASE("a deterministic problem takes the first engine that is") {
  const DeviceProperties gpu = DeviceProperties::h100();
  ConvProblem problem = plain(DType::f32);
  problem.deterministic = true;
  const Chosen<Plan> first = first_plan(problem);
  REQUIRE(first.plan.has_value());
  CHECK(first.choice.own_ms == 0);
  CHECK(first_plan(problem).choice.engine == first.choice.engine);
  for_each_plan(problem, {.properties = &gpu}, PlanLimits::of(problem), [&](const Engine& engine, Plan) {
    CAPTURE(describe(engine));
    CHECK(engine.deterministic());
    return true;
  });
}

TEST_CASE("problems that differ in anything have other keys and other texts") {
  std::vector<ConvProblem> problems(36, plain());
  size_t i = 0;
  const auto next = [&]() -> ConvProblem& { return problems[++i]; };  // problems[0] stays as it is
  next().op = ConvOp::forward;
  next().dtype = DType::f16;
  next().deterministic = true;
  for (int d = 0; d < 4; ++d)
    for (Shape ConvProblem::*shape : {&ConvProblem::x, &ConvProblem::w, &ConvProblem::y}) {
      const Shape original = plain().*shape;
      std::vector<int64_t> dims(original.dims().begin(), original.dims().end());
      ++dims[static_cast<size_t>(d)];
      next().*shape = Shape(dims);
    }
  for (int ConvGeometry::*field : {&ConvGeometry::stride_h, &ConvGeometry::stride_w, &ConvGeometry::pad_top,
                                   &ConvGeometry::pad_left, &ConvGeometry::pad_bottom, &ConvGeometry::pad_right,
                                   &ConvGeometry::dilation_h, &ConvGeometry::dilation_w, &ConvGeometry::groups})
    ++(next().g.*field);
  for (bool ConvFusion::*field :
       {&ConvFusion::scale, &ConvFusion::bias, &ConvFusion::residual, &ConvFusion::relu, &ConvFusion::swish,
        &ConvFusion::prologue, &ConvFusion::statistics, &ConvFusion::relu_backward, &ConvFusion::gradient,
        &ConvFusion::norm_sums, &ConvFusion::f32_weights})
    next().fusion.*field = true;
  CHECK(i + 1 == problems.size());
  std::set<ConvKey> keys;
  std::set<std::string> texts;
  for (const ConvProblem& p : problems) {
    keys.insert(key_of(p));
    texts.insert(to_string(p));
  }
  CHECK(keys.size() == problems.size());
  CHECK(texts.size() == problems.size());
  ConvProblem exact = plain(DType::f32), rounded = exact;
  rounded.tf32 = true;
  CHECK(key_of(exact) != key_of(rounded));
  CHECK(to_string(rounded).starts_with("backward_weight tf32 x[8,28,28,64] "));
  CHECK(to_string(exact).starts_with("backward_weight f32 x[8,28,28,64] "));
}

TEST_CASE("limits of plans hold") {
  const DeviceProperties gpu = DeviceProperties::h100();
  const ConvProblem problem = plain();
  const auto count = [&](size_t bytes) {
    return for_each_plan(problem, {.properties = &gpu}, {.workspace_bytes = bytes},
                         [&](const Engine&, const Plan& plan) {
                           CHECK(plan.workspace_bytes() <= bytes);
                           return true;
                         });
  };
  CHECK(count(0) > 0);
  CHECK(count(size_t{512} << 20) > count(0));
  ConvProblem small = problem;
  small.x = small.y = {1, 8, 8, 64};
  CHECK(PlanLimits::of(problem).runtime_compiled);
  CHECK(!PlanLimits::of(small).runtime_compiled);
}

}  // namespace segrt::kernels::vendor::cudnn
#endif
