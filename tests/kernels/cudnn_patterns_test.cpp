// Which of cuDNN's graph patterns have engines for an H100, of which kind, and which are refused: a newer cuDNN that
// accepts more shows here. No GPU is needed, and nothing is executed.
#if SEGRT_HAS_CUDNN
#include <doctest/doctest.h>

#include <optional>

#include "kernels/vendor/cudnn/norm_graph.h"
#include "kernels/vendor/cudnn/plan.h"
#include "tests/support/cuda_driver.h"

namespace segrt::kernels::vendor::cudnn {
namespace {
enum class Kind : uint8_t { precompiled, runtime_compiled, refused };
constexpr Kind P = Kind::precompiled, R = Kind::runtime_compiled, None = Kind::refused;

std::string name_of(Kind kind) { return kind == P ? "precompiled" : kind == R ? "compiled at run time" : "refused"; }

// What the first engine that sums in float32 comes to. Refusal may come as an error of the graph, as an empty list of
// engines, or from each of them.
Kind kind_of(const OperationGraph& graph, const DeviceProperties& gpu, DType dtype) {
  const Target target{.properties = &gpu};
  ConvProblem sums_in_float32;
  sums_in_float32.dtype = dtype;
  for (const Heuristics mode : {Heuristics::mode_a, Heuristics::fallback})
    for (const Engine& engine : find_engines(graph, target, mode, 32)) {
      if (!keeps_promises(engine, sums_in_float32)) continue;
      try {
        Plan::build(engine, target);
      } catch (const CudnnError& e) {
        if (e.not_supported()) continue;
        if (!engine.runtime_compiled() || !compiled_but_not_loaded(e)) throw;
      }
      return engine.runtime_compiled() ? R : P;
    }
  return None;
}

template <typename Graph, typename Problem>
Kind kind_of(const Problem& problem, const DeviceProperties& gpu) {
  std::optional<Graph> graph;
  try {
    graph.emplace(problem);
  } catch (const CudnnError& e) {
    if (!e.not_supported()) throw;
    return None;
  }
  return kind_of(*graph, gpu, problem.dtype);
}

struct Pattern {
  const char* name;
  ConvOp op;
  ConvFusion fusion;
  Kind bf16, f16;
  int channels = 64, dilation = 1, groups = 1;
};

ConvProblem problem_of(const Pattern& p, DType dtype) {
  const int64_t c = p.channels;
  const Shape map{8, 28, 28, c};
  return {.op = p.op,
          .dtype = dtype,
          .x = map,
          .w = {c, 3, 3, c / p.groups},
          .y = map,
          .g = ConvGeometry::square({.padding = p.dilation, .dilation = p.dilation, .groups = p.groups}),
          .fusion = p.fusion};
}

void check(const std::string& name, DType dtype, Kind got, Kind expected) {
  CAPTURE(name);
  CAPTURE(dtype);
  CHECK(name_of(got) == name_of(expected));
}
}  // namespace

TEST_CASE("cudnn: the patterns of convolutions and who takes them") {
  REQUIRE(test::load_cuda_driver_or_stub());
  const DeviceProperties gpu = DeviceProperties::h100();
  constexpr auto forward = ConvOp::forward, dgrad = ConvOp::backward_input, wgrad = ConvOp::backward_weight;
  const Pattern patterns[] = {
      {"forward", forward, {}, P, P},
      {"forward, dilated", forward, {}, P, P, 64, 4},
      {"input gradient", dgrad, {}, P, P},
      {"weight gradient", wgrad, {}, P, P},
      {"bias", forward, {.bias = true}, R, R},
      {"bias, ReLU", forward, {.bias = true, .relu = true}, R, R},
      {"bias, residual", forward, {.bias = true, .residual = true}, R, R},
      {"bias, residual, ReLU", forward, {.bias = true, .residual = true, .relu = true}, R, R},
      {"residual, ReLU", forward, {.residual = true, .relu = true}, R, R},
      {"ReLU", forward, {.relu = true}, R, R},
      {"bias, Swish", forward, {.bias = true, .swish = true}, R, R},
      {"bias, residual, Swish", forward, {.bias = true, .residual = true, .swish = true}, R, R},
      {"scale, bias, ReLU", forward, {.scale = true, .bias = true, .relu = true}, R, R},
      {"statistics", forward, {.statistics = true}, R, P},
      {"statistics, dilated", forward, {.statistics = true}, R, P, 64, 2},
      {"prologue, statistics", forward, {.prologue = true, .statistics = true}, R, P},
      {"ReLU backward", dgrad, {.relu_backward = true}, R, R},
      {"gradient, ReLU backward", dgrad, {.relu_backward = true, .gradient = true}, R, R},
      {"ReLU backward, batch norm's sums", dgrad, {.norm_sums = true}, None, P},
      {"prologue, weight gradient", wgrad, {.prologue = true}, None, P},
      {"float32 weight gradient", wgrad, {.f32_weights = true}, None, None},
      {"depthwise forward", forward, {}, R, R, 64, 1, 64},
      {"depthwise input gradient", dgrad, {}, R, R, 64, 1, 64},
      {"depthwise weight gradient", wgrad, {}, R, R, 64, 1, 64},
      {"depthwise, bias, ReLU", forward, {.bias = true, .relu = true}, None, R, 64, 1, 64},
  };
  for (const Pattern& p : patterns) {
    check(p.name, DType::bf16, kind_of<ConvGraph>(problem_of(p, DType::bf16), gpu), p.bf16);
    check(p.name, DType::f16, kind_of<ConvGraph>(problem_of(p, DType::f16), gpu), p.f16);
  }
}

TEST_CASE("cudnn: the patterns of batch normalisation and who takes them") {
  REQUIRE(test::load_cuda_driver_or_stub());
  const DeviceProperties gpu = DeviceProperties::h100();
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const Shape x{8, 28, 28, 64};
    check("forward", dtype, kind_of<NormGraph>(NormProblem{.dtype = dtype, .x = x}, gpu), R);
    check("forward, ReLU", dtype, kind_of<NormGraph>(NormProblem{.dtype = dtype, .x = x, .relu = true}, gpu), R);
    check("forward, residual, ReLU", dtype,
          kind_of<NormGraph>(NormProblem{.dtype = dtype, .x = x, .residual = true, .relu = true}, gpu), R);
    check("backward", dtype, kind_of<NormGraph>(NormProblem{.dtype = dtype, .x = x, .backward = true}, gpu), R);
  }
}

}  // namespace segrt::kernels::vendor::cudnn
#endif
