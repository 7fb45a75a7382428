// Every convolution of every shipped configuration, at its training crop and at 1x1024x2048, has a cuDNN plan for an
// H100, or is one that our own kernels take. Nothing is executed: no GPU is needed.
#if SEGRT_HAS_CUDNN
#include <doctest/doctest.h>

#include "kernels/vendor/cudnn/plan.h"
#include "tests/support/cuda_driver.h"
#include "tests/support/model_convolutions.h"
#include "tests/support/source_dir.h"

namespace segrt::models {
namespace {
using namespace kernels::vendor::cudnn;

constexpr int kCompiledEvery = 16;  // of problems with an epilogue

struct Counts {
  int precompiled = 0, runtime_compiled = 0, depthwise = 0, refused = 0;
  int fused = 0, compiled_here = 0;
};

// The first engine that keeps the problem's promises and is not turned down in the end. Run-time compiled ones are
// built only where `compile` says so: until then, that the heuristics offer them is what is known.
void count(const ConvProblem& problem, const DeviceProperties& gpu, bool compile, Counts& counts) {
  const Target target{.properties = &gpu};
  const ConvGraph graph(problem);
  for (const Heuristics mode : {Heuristics::mode_a, Heuristics::fallback})
    for (const Engine& engine : find_engines(graph, target, mode, 8)) {
      if (!keeps_promises(engine, problem)) continue;
      if (engine.runtime_compiled() && !compile) {
        ++counts.runtime_compiled;
        return;
      }
      try {
        Plan::build(engine, target);
      } catch (const CudnnError& e) {
        if (e.not_supported()) continue;
        if (!engine.runtime_compiled() || !compiled_but_not_loaded(e)) throw;
      }
      ++(engine.runtime_compiled() ? counts.runtime_compiled : counts.precompiled);
      counts.compiled_here += engine.runtime_compiled();
      return;
    }
  ++counts.refused;
  MESSAGE("refused, our own kernels take it: " << to_string(problem));
}
}  // namespace

TEST_CASE("every convolution of every shipped model has a cuDNN plan") {
  REQUIRE(test::load_cuda_driver_or_stub());
  const DeviceProperties gpu = DeviceProperties::h100();
  const test::ConvProblems problems = test::shipped_convolutions(test::source_dir() + "/models");
  CHECK(problems.size() > 100);
  for (const DType dtype : {DType::bf16, DType::f16}) {
    Counts counts;
    for (const auto& [key, shape] : problems) {
      ConvProblem problem = shape;
      problem.dtype = dtype;
      CAPTURE(to_string(problem));
      if (test::is_depthwise(problem)) {  // never offered to cuDNN
        ++counts.depthwise;
        continue;
      }
      // Engines with an epilogue are compiled at run time, which takes seconds each: a sample of them.
      const bool fused = problem.fusion != ConvFusion{};
      const bool compile = !fused || counts.fused++ % kCompiledEvery == 0;
      CHECK_NOTHROW(count(problem, gpu, compile, counts));
    }
    MESSAGE(to_string(dtype) << ": " << problems.size() << " problems, " << counts.depthwise
                             << " depthwise (own kernels), " << counts.precompiled << " precompiled, "
                             << counts.runtime_compiled << " run-time compiled (" << counts.compiled_here
                             << " compiled here), " << counts.refused << " refused");
    CHECK(counts.depthwise + counts.precompiled + counts.runtime_compiled + counts.refused ==
          static_cast<int>(problems.size()));
    CHECK(counts.precompiled + counts.runtime_compiled > 20 * counts.refused);
  }
}

}  // namespace segrt::models
#endif
