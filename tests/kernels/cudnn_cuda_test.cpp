// What cuDNN computes, against our own kernels, plan by plan. Needs a GPU.
#if SEGRT_HAS_CUDNN
#include <doctest/doctest.h>

#include <cstdlib>

#include "core/cuda/library_handles.h"
#include "kernels/cuda/conv.h"
#include "kernels/device_graph.h"
#include "kernels/norm.h"
#include "kernels/vendor/cudnn/conv_library.h"
#include "kernels/vendor_mode.h"
#include "tests/kernels/conv_cases.h"
#include "tests/support/tensors.h"

namespace segrt::kernels::vendor::cudnn {
namespace {
constexpr size_t kWorkspace = size_t{64} << 20;
constexpr int kPlansEach = 6;

// One convolution with its tensors, our own results, and outputs for cuDNN's.
struct Sample {
  Sample(const test::ConvCase& c, DType dtype, Device& device)
      : g(c.g),
        x(test::random_normal(c.x, dtype, device, {.seed = 1})),
        w(test::random_normal(c.w, dtype, device, {.seed = 2})),
        y(test::random_normal(conv2d_output_shape(c.x, c.w, c.g), dtype, device, {.seed = 3})),
        bias(test::random_normal({c.w[0]}, DType::f32, device, {.seed = 4})),
        residual(test::random_normal(y.shape(), dtype, device, {.seed = 5})) {}

  ConvProblem problem(ConvOp op) const {
    return {.op = op, .dtype = x.dtype(), .x = x.shape(), .w = w.shape(), .y = y.shape(), .g = g};
  }

  ConvGeometry g;
  Tensor x, w, y, bias, residual;  // y: the output's gradient, too
};

Tensor own_result(const Sample& s, const ConvProblem& p) {
  if (p.op == ConvOp::forward) {
    Tensor y = Tensor::like(s.y);
    cuda::conv2d_forward(s.x, s.w,
                         {.bias = p.fusion.bias ? &s.bias : nullptr,
                          .residual = p.fusion.residual ? &s.residual : nullptr,
                          .relu = p.fusion.relu},
                         s.g, y);
    return y;
  }
  Tensor gradient = Tensor::like(p.op == ConvOp::backward_input ? s.x : s.w);
  p.op == ConvOp::backward_input ? cuda::conv2d_backward_input(s.y, s.w, s.g, gradient)
                                 : cuda::conv2d_backward_weight(s.x, s.y, s.g, gradient);
  return gradient;
}

int compare_plans(Device& device, ConvPlans& plans, const Sample& s, const ConvProblem& p) {
  const Tensor expected = own_result(s, p);
  const int64_t terms = std::max(s.w.dim(1) * s.w.dim(2) * std::max(s.x.dim(3), s.w.dim(0)), s.y.numel() / s.y.dim(3));
  int count = 0;
  return for_each_plan(p, {.handle = device.state<CudnnHandle>().get()}, {.workspace_bytes = kWorkspace},
                       [&](const Engine& engine, Plan plan) {
                         CAPTURE(to_string(p));
                         CAPTURE(describe(engine));
                         const Tensor got = test::filled_with_nan(expected.shape(), expected.dtype(), device);
                         std::vector<Plan::Binding> bindings{
                             {Role::x, (p.op == ConvOp::backward_input ? got : s.x).raw()},
                             {Role::w, (p.op == ConvOp::backward_weight ? got : s.w).raw()},
                             {Role::y, (p.op == ConvOp::forward ? got : s.y).raw()}};
                         if (p.fusion.bias) bindings.push_back({Role::bias, s.bias.raw()});
                         if (p.fusion.residual) bindings.push_back({Role::residual, s.residual.raw()});
                         plans.run(plan, bindings);
                         CHECK(test::relative_l2(got, expected) <= 2 * test::tolerance(p.dtype, terms));  // both round
                         return ++count < kPlansEach;
                       });
}
}  // namespace

TEST_CASE("cudnn: every plan computes what our own kernels compute") {
  if (!Device::cuda_available()) return;
  const auto device = Device::create("cuda");
  ConvPlans& plans = device->state<ConvPlans>();
  int compared = 0;
  for (const test::ConvCase& c : test::conv_cases())
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      const Sample s(c, dtype, *device);
      if (s.x.numel() == 0 || s.w.numel() == 0 || s.y.numel() == 0) continue;
      for (const ConvOp op : {ConvOp::forward, ConvOp::backward_input, ConvOp::backward_weight})
        compared += compare_plans(*device, plans, s, s.problem(op));
    }
  // With an epilogue engines are compiled at run time, seconds each: one shape of each dtype.
  const test::ConvCase fused{"", {2, 9, 10, 32}, {64, 3, 3, 32}, ConvGeometry::square({.padding = 1})};
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const Sample s(fused, dtype, *device);
    ConvProblem p = s.problem(ConvOp::forward);
    for (const ConvFusion& fusion : {ConvFusion{.bias = true}, ConvFusion{.bias = true, .relu = true},
                                     ConvFusion{.bias = true, .residual = true, .relu = true}}) {
      p.fusion = fusion;
      compared += compare_plans(*device, plans, s, p);
    }
  }
  CHECK(compared > 100);
}

TEST_CASE("cudnn: a problem is decided once, and not at all when switched off or captured") {
  if (!Device::cuda_available()) return;
  ::setenv("SEGRT_CACHE", "", 1);
  const auto device = Device::create("cuda");
  ::unsetenv("SEGRT_CACHE");
  const test::ConvCase c{"", {2, 33, 31, 64}, {64, 3, 3, 64}, ConvGeometry::square({.padding = 1})};
  const Sample s(c, DType::bf16, *device);
  Tensor y = test::filled_with_nan(s.y.shape(), DType::bf16, *device);
  device->state<VendorMode>().enabled = false;
  conv2d_forward(s.x, s.w, {}, s.g, y);
  CHECK(vendor_choices(*device).empty());
  device->state<VendorMode>().enabled = true;
  for (int i = 0; i < 2; ++i) conv2d_forward(s.x, s.w, {}, s.g, y);
  const std::vector<VendorChoice> choices = vendor_choices(*device);
  REQUIRE(choices.size() == 1);
  CHECK(choices[0].problem == to_string(s.problem(ConvOp::forward)));
  CHECK(choices[0].own_ms > 0);
  CHECK(choices[0].plan_ms > 0);
  const Tensor expected = own_result(s, s.problem(ConvOp::forward));
  CHECK(test::relative_l2(y, expected) <= 2 * test::tolerance(DType::bf16, 576));
  // Captured: a problem that is decided replays its plan, another one goes to our own kernel undecided.
  Tensor replayed = test::filled_with_nan(y.shape(), DType::bf16, *device);
  Tensor dx = test::filled_with_nan(s.x.shape(), DType::bf16, *device);
  DeviceGraph graph(*device, [&] {
    conv2d_forward(s.x, s.w, {}, s.g, replayed);
    conv2d_backward_input(s.y, s.w, s.g, dx);
  });
  graph.replay();
  CHECK(vendor_choices(*device).size() == 1);
  CHECK(test::relative_l2(replayed, expected) <= 2 * test::tolerance(DType::bf16, 576));
  CHECK(test::relative_l2(dx, own_result(s, s.problem(ConvOp::backward_input))) <= test::tolerance(DType::bf16, 576));
}

TEST_CASE("cudnn: a convolution with statistics is the convolution and its statistics") {
  if (!Device::cuda_available()) return;
  ::setenv("SEGRT_CACHE", "", 1);
  const auto device = Device::create("cuda");
  ::unsetenv("SEGRT_CACHE");
  const test::ConvCase c{"", {4, 33, 31, 64}, {128, 3, 3, 64}, ConvGeometry::square({.padding = 1})};
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const Sample s(c, dtype, *device);
    Tensor y = test::filled_with_nan(s.y.shape(), dtype, *device), own = Tensor::like(y);
    Tensor mean = test::filled_with_nan({128}, DType::f32, *device), var = Tensor::like(mean);
    Tensor own_mean = Tensor::like(mean), own_var = Tensor::like(mean);
    conv2d_forward_statistics(s.x, s.w, s.g, y, mean, var);
    cuda::conv2d_forward(s.x, s.w, {}, s.g, own);
    batch_norm_statistics(own, own_mean, own_var);
    CHECK(test::relative_l2(y, own) <= 2 * test::tolerance(dtype, 576));
    CHECK(test::max_abs_difference(test::to_doubles(mean), test::to_doubles(own_mean)) <= 1e-2);
    CHECK(test::relative_l2(var, own_var) <= 1e-3);
    // Whatever was chosen, each plan with its sums is right.
    ConvProblem p = s.problem(ConvOp::forward);
    p.fusion.statistics = true;
    ConvPlans& plans = device->state<ConvPlans>();
    int count = 0;
    for_each_plan(p, {.handle = device->state<CudnnHandle>().get()}, {.workspace_bytes = kWorkspace},
                  [&](const Engine& engine, Plan plan) {
                    CAPTURE(describe(engine));
                    Tensor sum = test::filled_with_nan({128}, DType::f32, *device), squares = Tensor::like(sum);
                    plans.run(plan, {{Role::x, s.x.raw()},
                                     {Role::w, s.w.raw()},
                                     {Role::y, y.raw()},
                                     {Role::sum, sum.raw()},
                                     {Role::sum_squares, squares.raw()}});
                    batch_norm_from_sums(sum, squares, y.numel() / 128, mean, var);
                    CHECK(test::relative_l2(y, own) <= 2 * test::tolerance(dtype, 576));
                    CHECK(test::max_abs_difference(test::to_doubles(mean), test::to_doubles(own_mean)) <= 1e-2);
                    CHECK(test::relative_l2(var, own_var) <= 1e-3);
                    return ++count < kPlansEach;
                  });
    CHECK(count > 0);
  }
}

}  // namespace segrt::kernels::vendor::cudnn
#endif
