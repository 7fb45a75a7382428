#include "tests/tools/segrt_op_vectors/operators.h"

#include <algorithm>
#include <iterator>
#include <string_view>

namespace segrt::op_vectors {
namespace {
struct Entry {
  std::string_view op;
  Runner runner;
};

constexpr Entry kOperators[] = {
    {"Conv", run_conv},
    {"ConvTranspose", run_conv_transpose},
    {"DeformConv", run_deform_conv},
    {"MaxPool", run_max_pool},
    {"AveragePool", run_average_pool},
    {"GlobalMaxPool", run_global_max_pool},
    {"GlobalAveragePool", run_global_average_pool},
    {"Resize", run_resize},
    {"Upsample", run_upsample},
    {"BatchNormalization", run_batch_normalization},
    {"MatMul", run_matmul},
    {"Gemm", run_gemm},
    {"Softmax", run_softmax},
    {"LogSoftmax", run_log_softmax},
    {"NegativeLogLikelihoodLoss", run_negative_log_likelihood_loss},
    {"SoftmaxCrossEntropyLoss", run_softmax_cross_entropy_loss},
    {"Relu", run_unary},
    {"LeakyRelu", run_unary},
    {"Sigmoid", run_unary},
    {"Tanh", run_unary},
    {"Gelu", run_unary},
    {"Erf", run_unary},
    {"HardSigmoid", run_unary},
    {"Selu", run_unary},
    {"Elu", run_unary},
    {"Exp", run_unary},
    {"Log", run_unary},
    {"Sqrt", run_unary},
    {"Abs", run_unary},
    {"Neg", run_unary},
    {"Celu", run_composed_activation},
    {"HardSwish", run_composed_activation},
    {"Mish", run_composed_activation},
    {"Softplus", run_composed_activation},
    {"Softsign", run_composed_activation},
    {"Swish", run_composed_activation},
    {"Reciprocal", run_composed_activation},
    {"Clip", run_clip},
    {"PRelu", run_prelu},
    {"Add", run_binary},
    {"Sub", run_binary},
    {"Mul", run_binary},
    {"Div", run_binary},
    {"Max", run_variadic},
    {"Min", run_variadic},
    {"Sum", run_variadic},
    {"Mean", run_variadic},
    {"Cast", run_cast},
    {"CastLike", run_cast_like},
    {"ReduceSum", run_reduce},
    {"ReduceMean", run_reduce},
    {"ReduceL1", run_reduce},
    {"ReduceL2", run_reduce},
    {"ReduceSumSquare", run_reduce},
    {"ReduceLogSum", run_reduce},
    {"ReduceMax", run_reduce},
    {"ReduceMin", run_reduce},
    {"ArgMax", run_arg_max},
    {"ArgMin", run_arg_max},
    {"Concat", run_concat},
    {"Split", run_split},
    {"Identity", run_identity},
    {"Dropout", run_dropout},
    {"Reshape", run_reshape},
    {"Flatten", run_flatten},
    {"Squeeze", run_squeeze},
    {"Unsqueeze", run_unsqueeze},
};
}  // namespace

Runner find_runner(const std::string& domain, const std::string& op) {
  if (domain == "ai.onnx.preview.training") return op == "Momentum" ? run_momentum : op == "Adam" ? run_adam : nullptr;
  if (!domain.empty() && domain != "ai.onnx") return nullptr;
  const auto* entry =
      std::find_if(std::begin(kOperators), std::end(kOperators), [&](const Entry& e) { return e.op == op; });
  return entry == std::end(kOperators) ? nullptr : entry->runner;
}

}  // namespace segrt::op_vectors
