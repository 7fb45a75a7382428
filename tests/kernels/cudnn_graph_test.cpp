// What cuDNN understood of a graph, from its own description of a plan, against what was asked. No execution.
#if SEGRT_HAS_CUDNN
#include <doctest/doctest.h>

#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "kernels/vendor/cudnn/plan_choice.h"

namespace segrt::kernels::vendor::cudnn {
namespace {
using nlohmann::json;
using Sizes = std::vector<int64_t>;

// cuDNN's JSON of the first plan, its tensors by their ids.
struct Understood {
  json nodes;
  std::map<std::string, json> tensors;
};
Understood understood(const ConvProblem& problem) {
  const DeviceProperties gpu = DeviceProperties::h100();
  const Target target{.properties = &gpu};
  const Chosen<Plan> first = first_of<Plan>(candidates_of(problem, target));
  REQUIRE(first.plan.has_value());
  const json graph = json::parse(first.plan->json()).at("operationGraph");
  Understood u{graph.at("nodes"), {}};
  for (const json& tensor : graph.at("tensors")) u.tensors[tensor.at("name").get<std::string>()] = tensor;
  return u;
}

// Everything differs from everything else, so that nothing can be mistaken: x [2,9,12,8], w [24,3,5,8], y [2,4,12,24].
ConvProblem lopsided(ConvOp op, DType dtype) {
  return {.op = op,
          .dtype = dtype,
          .tf32 = true,
          .x = {2, 9, 12, 8},
          .w = {24, 3, 5, 8},
          .y = {2, 4, 12, 24},
          .g = {.stride_h = 2,
                .stride_w = 1,
                .pad_top = 1,
                .pad_left = 5,
                .pad_bottom = 0,
                .pad_right = 3,
                .dilation_h = 1,
                .dilation_w = 2}};
}

void check_tensors(const Understood& u, const std::string& type) {
  const auto check = [&](const char* id, const Sizes& dims, const Sizes& strides) {
    CAPTURE(id);
    REQUIRE(u.tensors.contains(id));
    const json& tensor = u.tensors.at(id);
    CHECK(tensor.at("dim").get<Sizes>() == dims);
    CHECK(tensor.at("stride").get<Sizes>() == strides);
    CHECK(tensor.at("dataType") == type);
    CHECK(tensor.at("isVirtual") == false);
  };
  check("1", {2, 8, 9, 12}, {9 * 12 * 8, 1, 12 * 8, 8});      // x, NHWC in memory
  check("2", {24, 8, 3, 5}, {3 * 5 * 8, 1, 5 * 8, 8});        // w, KRSC
  check("3", {2, 24, 4, 12}, {4 * 12 * 24, 1, 12 * 24, 24});  // y
}

void check_convolution(const json& node) {
  CHECK(node.at("mode") == "CUDNN_CROSS_CORRELATION");
  CHECK(node.at("mathPrec") == "CUDNN_DATA_FLOAT");
  CHECK(node.at("alpha") == 1.0);
  CHECK(node.at("beta") == 0.0);
  CHECK(node.at("pad_lower").get<Sizes>() == Sizes{1, 5});
  CHECK(node.at("pad_upper").get<Sizes>() == Sizes{0, 3});
  CHECK(node.at("stride").get<Sizes>() == Sizes{2, 1});
  CHECK(node.at("dilation").get<Sizes>() == Sizes{1, 2});
}
}  // namespace

TEST_CASE("cudnn: the three convolutions are understood as they are meant") {
  REQUIRE(conv2d_output_shape({2, 9, 12, 8}, {24, 3, 5, 8}, lopsided(ConvOp::forward, DType::f16).g) ==
          Shape{2, 4, 12, 24});
  struct Wiring {
    ConvOp op;
    const char *operation, *first, *second, *result;  // names of a node's tensors
    std::array<const char*, 3> ids;
  };
  const Wiring wirings[] = {{ConvOp::forward, "FORWARD", "X", "W", "Y", {"1", "2", "3"}},
                            {ConvOp::backward_input, "BACKWARD_DATA", "dY", "W", "dX", {"3", "2", "1"}},
                            {ConvOp::backward_weight, "BACKWARD_FILTER", "X", "dY", "dW", {"1", "3", "2"}}};
  const std::pair<DType, const char*> types[] = {
      {DType::bf16, "CUDNN_DATA_BFLOAT16"}, {DType::f16, "CUDNN_DATA_HALF"}, {DType::f32, "CUDNN_DATA_FLOAT"}};
  for (const Wiring& w : wirings)
    for (const auto& [dtype, type] : types) {
      CAPTURE(w.operation);
      CAPTURE(dtype);
      const Understood u = understood(lopsided(w.op, dtype));
      check_tensors(u, type);
      REQUIRE(u.nodes.size() == 1);
      const json& node = u.nodes[0];
      CHECK(node.at("operation") == std::string("CUDNN_BACKEND_OPERATION_CONVOLUTION_") + w.operation + "_DESCRIPTOR");
      check_convolution(node);
      CHECK(node.at(w.first) == w.ids[0]);
      CHECK(node.at(w.second) == w.ids[1]);
      CHECK(node.at(w.result) == w.ids[2]);
    }
}

TEST_CASE("cudnn: an epilogue adds the bias, then cuts at zero") {
  ConvProblem problem = lopsided(ConvOp::forward, DType::f32);  // of this type engines are precompiled
  problem.fusion = {.bias = true, .relu = true};
  const Understood u = understood(problem);
  check_tensors(u, "CUDNN_DATA_FLOAT");
  CHECK(u.tensors.at("4").at("dim").get<Sizes>() == Sizes{1, 24, 1, 1});
  REQUIRE(u.nodes.size() == 3);
  check_convolution(u.nodes[0]);
  const std::string products = u.nodes[0].at("Y"), sums = u.nodes[1].at("Y");
  CHECK(u.nodes[1].at("pointwiseMode") == "CUDNN_POINTWISE_ADD");
  CHECK(u.nodes[1].at("X") == products);
  CHECK(u.nodes[1].at("B") == "4");
  CHECK(u.nodes[2].at("pointwiseMode") == "CUDNN_POINTWISE_RELU_FWD");
  CHECK(u.nodes[2].at("X") == sums);
  CHECK(u.nodes[2].at("Y") == "3");
  for (const std::string& id : {products, sums}) {
    CHECK(u.tensors.at(id).at("isVirtual") == true);
    CHECK(u.tensors.at(id).at("dataType") == "CUDNN_DATA_FLOAT");
    CHECK(u.tensors.at(id).at("dim").get<Sizes>() == Sizes{2, 24, 4, 12});
  }
}

TEST_CASE("cudnn: statistics are taken of what is written") {
  ConvProblem problem = {.op = ConvOp::forward,
                         .dtype = DType::f16,
                         .x = {8, 28, 28, 64},
                         .w = {128, 3, 3, 64},
                         .y = {8, 28, 28, 128},
                         .g = ConvGeometry::square({.padding = 1}),
                         .fusion = {.statistics = true}};
  const Understood u = understood(problem);
  REQUIRE(u.nodes.size() == 2);
  CHECK(u.nodes[0].at("Y") == "3");
  CHECK(u.nodes[1].at("X") == "3");
  CHECK(u.nodes[1].at("Sum") == "6");
  CHECK(u.nodes[1].at("SqSum") == "7");
  CHECK(u.tensors.at("3").at("isVirtual") == false);
  for (const char* id : {"6", "7"}) {
    CHECK(u.tensors.at(id).at("dim").get<Sizes>() == Sizes{1, 128, 1, 1});
    CHECK(u.tensors.at(id).at("dataType") == "CUDNN_DATA_FLOAT");
  }
}

}  // namespace segrt::kernels::vendor::cudnn
#endif
