// cuDNN's graphs and plans, made for a described H100: no GPU is needed, and nothing is executed.
#if SEGRT_HAS_CUDNN
#include <doctest/doctest.h>

#include "core/error.h"
#include "kernels/vendor/cudnn/plan.h"
#include "tests/kernels/conv_cases.h"
#include "tests/support/cuda_driver.h"
#include "tests/support/tensors.h"

namespace segrt::kernels::vendor::cudnn {
namespace {
ConvProblem problem_of(const test::ConvCase& c, ConvOp op, DType dtype, const ConvFusion& fusion = {}) {
  return {.op = op,
          .dtype = dtype,
          .x = c.x,
          .w = c.w,
          .y = conv2d_output_shape(c.x, c.w, c.g),
          .g = c.g,
          .fusion = fusion};
}

const test::ConvCase kPlain{"3x3, 64 channels", {8, 28, 28, 64}, {64, 3, 3, 64}, ConvGeometry::square({.padding = 1})};

enum class Kind : uint8_t { precompiled, runtime_compiled, refused };

// How the first engine that keeps the problem's promises becomes a plan. Throws what building throws, but for the end
// that run-time compiled engines come to without a driver.
Kind kind_of(const ConvProblem& problem, const DeviceProperties& gpu) {
  const Target target{.properties = &gpu};
  const ConvGraph graph(problem);
  for (const Heuristics mode : {Heuristics::mode_a, Heuristics::fallback})
    for (const Engine& engine : find_engines(graph, target, mode, 32)) {
      if (!keeps_promises(engine, problem)) continue;
      try {
        Plan::build(engine, target);
      } catch (const CudnnError& e) {
        if (e.not_supported()) continue;
        if (!engine.runtime_compiled() || !compiled_but_not_loaded(e)) throw;
      }
      return engine.runtime_compiled() ? Kind::runtime_compiled : Kind::precompiled;
    }
  return Kind::refused;
}

std::vector<Engine> engines_of(const ConvProblem& problem, const DeviceProperties& gpu) {
  std::vector<Engine> all;
  for (const Heuristics mode : {Heuristics::mode_a, Heuristics::fallback})
    for (Engine& engine : find_engines(ConvGraph(problem), {.properties = &gpu}, mode, 32))
      all.push_back(std::move(engine));
  return all;
}
}  // namespace

TEST_CASE("cudnn: errors name the descriptor, the attribute, the status and the reason") {
  Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const std::string wrong_type = test::error_of([&] { tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_DATA_FLOAT); });
  CHECK(wrong_type.starts_with("cuDNN: TENSOR: set TENSOR_DIMENSIONS: CUDNN_STATUS_BAD_PARAM"));
  const std::string foreign = test::error_of([&] { tensor.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_HEUR_MODE_A); });
  CHECK(foreign.starts_with("cuDNN: TENSOR: set ENGINEHEUR_MODE: CUDNN_STATUS_"));
  const std::string incomplete = test::error_of([&] { tensor.finalize(); });
  CHECK(incomplete.starts_with("cuDNN: TENSOR: finalize: CUDNN_STATUS_BAD_PARAM"));
  CHECK(incomplete.size() > std::string("cuDNN: TENSOR: finalize: CUDNN_STATUS_BAD_PARAM: ").size());
  const std::string unread = test::error_of([&] { tensor.get<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID); });
  CHECK(unread.starts_with("cuDNN: TENSOR: get TENSOR_UNIQUE_ID: CUDNN_STATUS_"));
  CHECK(name_of(CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC) == "attribute 2800");
  CHECK(test::error_of([] { DeviceProperties::from_json("{}"); }).starts_with("cuDNN: DEVICEPROP: "));
  CHECK(test::error_of([] {
          const DeviceProperties gpu = DeviceProperties::h100();
          Plan::from_json("not a plan", {.properties = &gpu});
        }).starts_with("cuDNN: EXECUTION_PLAN: "));
}

TEST_CASE("cudnn: attributes are read back as they were set") {
  Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_DATA_BFLOAT16)
      .set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::vector<int64_t>{2, 3, 5, 7})
      .set(CUDNN_ATTR_TENSOR_STRIDES, std::vector<int64_t>{105, 1, 21, 3})
      .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, int64_t{42})
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, int64_t{16})
      .finalize();
  CHECK(tensor.get<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID) == 42);
  CHECK(tensor.get<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE) == CUDNN_DATA_BFLOAT16);
  CHECK(tensor.get_list<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS, 8) == std::vector<int64_t>{2, 3, 5, 7});
  CHECK(tensor.get_list<int64_t>(CUDNN_ATTR_TENSOR_STRIDES, 2) == std::vector<int64_t>{105, 1});  // no more than asked
}

TEST_CASE("cudnn: the described GPU is read back") {
  const DeviceProperties gpu = DeviceProperties::h100();
  const std::string json = gpu.json();
  CHECK(json.find("\"deviceVer\":900") != std::string::npos);
  CHECK(json.find("\"multiProcessorCount\":132") != std::string::npos);
  CHECK(DeviceProperties::from_json(json).json() == json);
}

TEST_CASE("cudnn: a fusion that no graph computes is an error that names the problem") {
  const auto refused = [&](ConvOp op, const ConvFusion& fusion) {
    const std::string message = test::error_of([&] { ConvGraph{problem_of(kPlain, op, DType::bf16, fusion)}; });
    return message.starts_with("conv2d on cuDNN: no graph computes this in one pass: ") &&
           message.ends_with("w[64,3,3,64] y[8,28,28,64] stride 1x1 pad 1,1,1,1 dilation 1x1 groups 1");
  };
  CHECK(refused(ConvOp::backward_input, {.bias = true}));
  CHECK(refused(ConvOp::backward_weight, {.statistics = true}));
  CHECK(refused(ConvOp::forward, {.relu_backward = true}));
  CHECK(refused(ConvOp::forward, {.relu = true, .statistics = true}));
  CHECK(refused(ConvOp::forward, {.relu = true, .swish = true}));
  CHECK(refused(ConvOp::forward, {.prologue = true}));
  CHECK(refused(ConvOp::forward, {.f32_weights = true}));
  CHECK(refused(ConvOp::backward_input, {.gradient = true}));
  CHECK(refused(ConvOp::backward_input, {.relu_backward = true, .norm_sums = true}));
  CHECK(refused(ConvOp::backward_weight, {.relu_backward = true}));
  CHECK(test::error_of([] { ConvGraph{problem_of(kPlain, ConvOp::forward, DType::f64)}; }) ==
        "cuDNN: x: expected f32, bf16 or f16, got f64");
}

// Odd channels, strides, dilations beyond the input, groups, asymmetric padding, 1x1 images.
TEST_CASE("cudnn: awkward shapes have plans or are left to our own kernels") {
  REQUIRE(test::load_cuda_driver_or_stub());
  const DeviceProperties gpu = DeviceProperties::h100();
  int refused = 0, plans = 0;
  for (const test::ConvCase& c : test::conv_cases()) {
    if (c.g.groups > 1 && c.g.groups == c.x[3]) continue;  // depthwise: never offered to cuDNN
    for (const ConvOp op : {ConvOp::forward, ConvOp::backward_input, ConvOp::backward_weight})
      for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
        const ConvProblem problem = problem_of(c, op, dtype);
        if (problem.x.numel() == 0 || problem.w.numel() == 0 || problem.y.numel() == 0) continue;
        CAPTURE(to_string(problem));
        Kind kind = Kind::refused;
        CHECK_NOTHROW(kind = kind_of(problem, gpu));
        if (kind == Kind::refused) MESSAGE("refused: " << to_string(problem));
        ++(kind == Kind::refused ? refused : plans);
      }
  }
  MESSAGE(plans << " plans, " << refused << " refused");
  CHECK(plans > 10 * refused);
}

TEST_CASE("cudnn: float32 stays float32 unless tf32 is allowed, and determinism excludes engines") {
  const DeviceProperties gpu = DeviceProperties::h100();
  ConvProblem exact = problem_of(kPlain, ConvOp::backward_weight, DType::f32), rounded = exact, repeatable = exact;
  rounded.tf32 = true;
  repeatable.deterministic = true;
  const std::vector<Engine> engines = engines_of(exact, gpu);
  int tensor_core = 0, varying = 0, kept = 0;
  for (const Engine& e : engines) {
    CAPTURE(describe(e));
    const bool on_tensor_cores = e.has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
    tensor_core += on_tensor_cores;
    varying += e.has(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
    kept += keeps_promises(e, exact);
    if (on_tensor_cores) CHECK(!keeps_promises(e, exact));
    if (keeps_promises(e, exact)) CHECK(keeps_promises(e, rounded));
    if (e.has(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)) CHECK(!keeps_promises(e, repeatable));
    if (e.has(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)) CHECK(!keeps_promises(e, rounded));
  }
  CHECK(tensor_core > 0);  // else the checks above have seen nothing
  CHECK(varying > 0);
  CHECK(kept > 0);
}

TEST_CASE("cudnn: a plan goes through JSON") {
  const DeviceProperties gpu = DeviceProperties::h100();
  const ConvProblem problem = problem_of(kPlain, ConvOp::backward_weight, DType::bf16);
  const std::vector<Engine> engines = engines_of(problem, gpu);
  REQUIRE(!engines.empty());
  const Plan plan = Plan::build(engines.front(), {.properties = &gpu});
  const std::string json = plan.json();
  CHECK(json.find("CUDNN_DATA_BFLOAT16") != std::string::npos);
  const Plan again = Plan::from_json(json, {.properties = &gpu});
  CHECK(again.json() == json);
  CHECK(again.workspace_bytes() == plan.workspace_bytes());
  CHECK(describe(engines.front()).starts_with("engine "));
  CHECK(describe(engines.front()).find("TILE_SIZE") != std::string::npos);
  CHECK_THROWS_AS(Plan::from_json(json.substr(0, json.size() / 2), {.properties = &gpu}), CudnnError);
}

}  // namespace segrt::kernels::vendor::cudnn
#endif
