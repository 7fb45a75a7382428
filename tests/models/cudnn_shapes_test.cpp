// Every convolution of every shipped configuration, at its training crop and at 1x1024x2048, has a cuDNN plan for an
// H100, or is one that our own kernels take. Nothing is executed: no GPU is needed.
#if SEGRT_HAS_CUDNN
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "core/config.h"
#include "core/op_event.h"
#include "kernels/vendor/cudnn/plan.h"
#include "models/model.h"
#include "tests/support/cuda_driver.h"
#include "tests/support/source_dir.h"

namespace segrt::models {
namespace {
using kernels::ConvGeometry;
using namespace kernels::vendor::cudnn;

constexpr int64_t kTrainingBatch = 8;
constexpr int kCompiledEvery = 16;  // of problems with an epilogue

// Convolutions by what they say of themselves: a set without duplicates.
using Problems = std::map<std::string, ConvProblem>;

bool is_depthwise(const ConvProblem& p) { return p.g.groups > 1 && p.g.groups == p.x[3] && p.w[3] == 1; }

void add(Problems& problems, ConvProblem p, ConvOp op, const ConvFusion& fusion = {}) {
  p.op = op;
  p.fusion = fusion;
  problems.emplace(to_string(p), p);
}

ConvGeometry geometry_of(const OpEvent& e) {
  const auto value = [&](const char* name, size_t i) { return static_cast<int>(e.attributes.at(name)[i]); };
  return {.stride_h = value("stride", 0),
          .stride_w = value("stride", 1),
          .pad_top = value("pad", 0),
          .pad_left = value("pad", 1),
          .pad_bottom = value("pad", 2),
          .pad_right = value("pad", 3),
          .dilation_h = value("dilation", 0),
          .dilation_w = value("dilation", 1),
          .groups = value("groups", 0)};
}

// What the engine asks of the kernels for one event, forward and, in training, backward.
void collect(const OpEvent& e, bool training, Problems& problems) {
  if (e.op != "conv2d" && e.op != "conv_transpose2d") return;
  ConvProblem p{.x = e.inputs[0].shape(), .w = e.inputs[1].shape(), .y = e.output.shape(), .g = geometry_of(e)};
  const auto given = [&](size_t i) { return i < e.inputs.size() && e.inputs[i].defined(); };
  if (e.op == "conv_transpose2d") {  // the input gradient of the convolution the other way
    std::swap(p.x, p.y);
    add(problems, p, ConvOp::backward_input);
    if (training) add(problems, p, ConvOp::forward);
  } else {
    const auto relu = e.attributes.find("relu");
    add(problems, p, ConvOp::forward,
        {.bias = given(2), .residual = given(3), .relu = relu != e.attributes.end() && relu->second[0] != 0});
    if (training) add(problems, p, ConvOp::backward_input);
    if (training && !given(2)) add(problems, p, ConvOp::forward, {.statistics = true});  // of the batch norm after it
  }
  if (training) add(problems, p, ConvOp::backward_weight);
}

void run(const Config& config, const Shape& image, bool training, Problems& problems) {
  const std::unique_ptr<Device> device = Device::create("meta");
  nn::Init init(*device, 0);
  const std::unique_ptr<Model> model = build(config.table("model"), init);
  model->set_training(training);
  device->op_observer = [&](const OpEvent& e) { collect(e, training, problems); };
  device->set_grad_enabled(training);
  model->forward(Tensor::empty(image, DType::f32, *device));
  device->op_observer = nullptr;
}

struct Side {
  int64_t height, width;
};
Side crop_of(const Config& data) {  // crop = 896 or crop = [768, 768]
  try {
    return {data.integer("crop"), data.integer("crop")};
  } catch (const ConfigError&) {
    const std::vector<int64_t> sides = data.integers("crop", {.count = 2});
    return {sides[0], sides[1]};
  }
}

Problems shipped_problems() {
  Problems problems;
  for (const auto& file : std::filesystem::directory_iterator(test::source_dir() + "/models")) {
    if (file.path().extension() != ".toml") continue;
    const Config config = Config::load(file.path().string());
    CAPTURE(file.path().string());
    const Side crop = crop_of(config.table("data"));
    run(config, {kTrainingBatch, crop.height, crop.width, 3}, true, problems);
    const bool segmentation = task_of(config.table("model")) == Task::segmentation;
    if (segmentation) run(config, {1, 1024, 2048, 3}, false, problems);
  }
  return problems;
}

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
  const Problems problems = shipped_problems();
  CHECK(problems.size() > 100);
  for (const DType dtype : {DType::bf16, DType::f16}) {
    Counts counts;
    for (const auto& [text, shape] : problems) {
      ConvProblem problem = shape;
      problem.dtype = dtype;
      CAPTURE(to_string(problem));
      if (is_depthwise(problem)) {  // never offered to cuDNN
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
