#include "models/onnx/translate.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "kernels/elementwise.h"
#include "kernels/resize.h"
#include "nn/state.h"

namespace segrt::onnx_export {
namespace {
using kernels::Binary;
using kernels::Unary;

std::vector<int64_t> integers(const OpEvent& e, const std::string& name) {
  std::vector<int64_t> values;
  for (const double v : e.attributes.at(name)) values.push_back(static_cast<int64_t>(v));
  return values;
}
bool is_set(const OpEvent& e, const std::string& name) {
  const auto found = e.attributes.find(name);
  return found != e.attributes.end() && found->second.at(0) != 0;
}
std::vector<float> values_of(const Tensor& t) {
  if (t.dtype() != DType::f32) throw ArgumentError("ONNX export: expected f32 weights, got " + describe(t));
  return t.to_vector<float>();
}

Graph::Attributes window(const OpEvent& e) {
  return {.integers = {{"strides", integers(e, "stride")},
                       {"pads", integers(e, "pad")},
                       {"dilations", integers(e, "dilation")}}};
}
}  // namespace

std::vector<int64_t> onnx_shape(const Shape& s) {
  if (s.rank() == 4) return {s[0], s[3], s[1], s[2]};
  return {s.dims().begin(), s.dims().end()};
}

const std::map<std::string, Translator::Operator>& Translator::operators() {
  static const std::map<std::string, Operator> kOperators = {
      {"conv2d", &Translator::conv2d},
      {"conv_transpose2d", &Translator::conv_transpose2d},
      {"linear", &Translator::linear},
      {"batch_norm", &Translator::batch_norm},
      {"max_pool2d", &Translator::max_pool2d},
      {"avg_pool2d", &Translator::avg_pool2d},
      {"global_avg_pool", &Translator::global_avg_pool},
      {"resize", &Translator::resize},
      {"unary", &Translator::unary},
      {"binary", &Translator::binary},
      {"scale", &Translator::scale},
      {"reshape", &Translator::reshape},
      {"concat_channels", &Translator::concat_channels},
      {"channel_gate", &Translator::channel_gate},
      {"space_to_depth", &Translator::space_to_depth},
      {"patch_means", &Translator::patch_means},
      {"softmax", &Translator::softmax},
      {"log_softmax", &Translator::softmax},
      {"copy", &Translator::copy},
      {"gate", &Translator::gate},
      {"route_senders", &Translator::route_senders},
      {"route_gates", &Translator::route_gates},
      {"gated_sum", &Translator::gated_sum},
  };
  return kOperators;
}

void Translator::add(const OpEvent& event) {
  const auto found = operators().find(event.op);
  if (found == operators().end()) throw ArgumentError("ONNX export: the operator " + event.op + " has no translation");
  (this->*found->second)(event);
}

std::string Translator::name(const Tensor& tensor) {
  const auto found = names_.find(key(tensor));
  if (found != names_.end()) return found->second;
  if (tensor.storage_id() >= first_new_)
    throw ArgumentError("ONNX export: " + describe(tensor) + " was made by an operator that does not report itself");
  const Tensor upstream = nn::to_upstream_layout(tensor);
  const Shape& shape = upstream.shape();
  const std::string made =
      graph_.constant(std::vector<int64_t>(shape.dims().begin(), shape.dims().end()), values_of(upstream));
  bind(tensor, made);
  return made;
}

std::string Translator::scalar(float value) {
  std::string& name = scalars_[value];
  if (name.empty()) name = graph_.constant({1, 1, 1, 1}, {value});
  return name;
}

// The end of a fused operator: residual, then ReLU.
std::string Translator::finished(const OpEvent& e, std::string y, size_t residual) {
  if (e.inputs.size() > residual && e.inputs[residual].defined()) y = graph_.node("Add", {y, name(e.inputs[residual])});
  return is_set(e, "relu") ? graph_.node("Relu", {y}) : y;
}

void Translator::conv2d(const OpEvent& e) {
  Graph::Attributes attributes = window(e);
  attributes.integer["group"] = integers(e, "groups")[0];
  const Shape& w = e.inputs[1].shape();
  attributes.integers["kernel_shape"] = {w[1], w[2]};
  std::vector<std::string> inputs{name(e.inputs[0]), name(e.inputs[1])};
  if (e.inputs[2].defined()) inputs.push_back(name(e.inputs[2]));
  bind(e.output, finished(e, graph_.node("Conv", inputs, attributes), 3));
}

void Translator::conv_transpose2d(const OpEvent& e) {
  Graph::Attributes attributes = window(e);
  attributes.integer["group"] = integers(e, "groups")[0];
  const Shape& w = e.inputs[1].shape();
  attributes.integers["kernel_shape"] = {w[1], w[2]};
  // What the formula of the size leaves over is output padding.
  const auto pad = integers(e, "pad"), stride = integers(e, "stride"), dilation = integers(e, "dilation");
  const auto rest = [&](int axis) {
    const auto a = static_cast<size_t>(axis);
    return e.output.dim(axis + 1) -
           ((e.inputs[0].dim(axis + 1) - 1) * stride[a] - pad[a] - pad[a + 2] + dilation[a] * (w[axis + 1] - 1) + 1);
  };
  attributes.integers["output_padding"] = {rest(0), rest(1)};
  std::vector<std::string> inputs{name(e.inputs[0]), name(e.inputs[1])};
  if (e.inputs[2].defined()) inputs.push_back(name(e.inputs[2]));
  bind(e.output, graph_.node("ConvTranspose", inputs, attributes));
}

// On maps it is a 1x1 convolution.
void Translator::linear(const OpEvent& e) {
  const Tensor &x = e.inputs[0], &w = e.inputs[1], &bias = e.inputs[2];
  std::vector<std::string> inputs{name(x)};
  if (x.rank() == 4) {
    inputs.push_back(graph_.constant({w.dim(0), w.dim(1), 1, 1}, values_of(w)));
    if (bias.defined()) inputs.push_back(name(bias));
    bind(e.output, graph_.node("Conv", inputs));
  } else if (x.rank() == 2) {
    inputs.push_back(name(w));
    if (bias.defined()) inputs.push_back(name(bias));
    bind(e.output, graph_.node("Gemm", inputs, {.integer = {{"transB", 1}}}));
  } else {
    throw ArgumentError("ONNX export: linear: expected rank 2 or 4, got " + describe(x));
  }
}

void Translator::batch_norm(const OpEvent& e) {
  std::vector<std::string> inputs;
  for (size_t i = 0; i < 5; ++i) inputs.push_back(name(e.inputs[i]));
  const auto eps = static_cast<float>(e.attributes.at("eps")[0]);
  bind(e.output, finished(e, graph_.node("BatchNormalization", inputs, {.number = {{"epsilon", eps}}}), 5));
}

void Translator::max_pool2d(const OpEvent& e) {
  Graph::Attributes attributes = window(e);
  attributes.integers["kernel_shape"] = integers(e, "kernel");
  attributes.integer["ceil_mode"] = is_set(e, "ceil_mode");
  bind(e.output, graph_.node("MaxPool", {name(e.inputs[0])}, attributes));
}

void Translator::avg_pool2d(const OpEvent& e) {
  Graph::Attributes attributes = window(e);
  attributes.integers.erase("dilations");  // from opset 19 on
  attributes.integers["kernel_shape"] = integers(e, "kernel");
  attributes.integer["ceil_mode"] = is_set(e, "ceil_mode");
  attributes.integer["count_include_pad"] = is_set(e, "count_include_pad");
  bind(e.output, graph_.node("AveragePool", {name(e.inputs[0])}, attributes));
}

void Translator::global_avg_pool(const OpEvent& e) {
  bind(e.output, graph_.node("GlobalAveragePool", {name(e.inputs[0])}));
}

void Translator::resize(const OpEvent& e) {
  constexpr const char* kModes[] = {"nearest", "linear"};
  constexpr const char* kCoordinates[] = {"half_pixel", "align_corners", "asymmetric"};
  constexpr const char* kRounding[] = {"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"};
  const auto chosen = [&](const char* attribute) { return static_cast<size_t>(integers(e, attribute)[0]); };
  Graph::Attributes attributes{.text = {{"mode", kModes[chosen("mode")]},
                                        {"coordinate_transformation_mode", kCoordinates[chosen("coordinates")]}}};
  if (chosen("mode") == 0) attributes.text["nearest_mode"] = kRounding[chosen("rounding")];
  // By scales where they give the size, so that the number of images stays free; else by sizes.
  std::vector<float> scales{1, 1};
  bool by_scale = true;
  for (int axis = 1; axis <= 2; ++axis) {
    const auto in = static_cast<double>(e.inputs[0].dim(axis)), out = static_cast<double>(e.output.dim(axis));
    const double given = e.attributes.at("scale")[static_cast<size_t>(axis - 1)];
    const auto scale = static_cast<float>(given != 0 ? given : out / in);
    scales.push_back(scale);
    by_scale = by_scale && std::floor(static_cast<float>(in) * scale) == out;
    if (!by_scale && given != 0)
      throw ArgumentError(fmt::format("ONNX export: resize: {} by {} is not {}", in, given, out));
  }
  std::vector<std::string> inputs{name(e.inputs[0]), ""};
  if (by_scale)
    inputs.push_back(graph_.constant({4}, scales));
  else
    inputs.insert(inputs.end(), {"", graph_.constant(onnx_shape(e.output.shape()))});
  bind(e.output, graph_.node("Resize", inputs, attributes));
}

void Translator::unary(const OpEvent& e) {
  constexpr std::pair<Unary, const char*> kTypes[] = {
      {Unary::relu, "Relu"}, {Unary::sigmoid, "Sigmoid"}, {Unary::tanh, "Tanh"},
      {Unary::exp, "Exp"},   {Unary::log, "Log"},         {Unary::sqrt, "Sqrt"},
      {Unary::abs, "Abs"},   {Unary::neg, "Neg"},         {Unary::erf, "Erf"},
  };
  const auto kind = static_cast<Unary>(integers(e, "kind")[0]);
  const std::string x = name(e.inputs[0]);
  for (const auto& [unary, type] : kTypes)
    if (unary == kind) return bind(e.output, graph_.node(type, {x}));
  if (kind == Unary::silu) return bind(e.output, graph_.node("Mul", {x, graph_.node("Sigmoid", {x})}));
  if (kind == Unary::square) return bind(e.output, graph_.node("Mul", {x, x}));
  throw ArgumentError(fmt::format("ONNX export: elementwise function {} has no translation", static_cast<int>(kind)));
}

void Translator::binary(const OpEvent& e) {
  constexpr const char* kTypes[] = {"Add", "Sub", "Mul", "Div", "Max", "Min"};
  if (e.inputs[0].rank() != e.inputs[1].rank())
    throw ArgumentError("ONNX export: " + describe(e.inputs[0]) + " with " + describe(e.inputs[1]));
  const auto kind = static_cast<size_t>(integers(e, "kind")[0]);
  bind(e.output, graph_.node(kTypes[kind], {name(e.inputs[0]), name(e.inputs[1])}));
}

void Translator::scale(const OpEvent& e) {
  const auto factor = static_cast<float>(e.attributes.at("factor")[0]),
             offset = static_cast<float>(e.attributes.at("offset")[0]);
  std::string y = graph_.node("Mul", {name(e.inputs[0]), graph_.constant({}, {factor})});
  if (offset != 0) y = graph_.node("Add", {y, graph_.constant({}, {offset})});
  bind(e.output, y);
}

// Between a map of one pixel and its channels, where both layouts agree.
void Translator::reshape(const OpEvent& e) {
  const Tensor &x = e.inputs[0], &y = e.output;
  if (x.shape() == y.shape()) return bind(y, name(x));
  if (x.rank() == 4 && y.rank() == 4)
    throw ArgumentError("ONNX export: reshape of " + describe(x) + " to " + describe(y));
  const auto flat = [](const Tensor& t) { return t.rank() != 4 || (t.dim(1) == 1 && t.dim(2) == 1); };
  if (!flat(x) || !flat(y)) throw ArgumentError("ONNX export: reshape of " + describe(x) + " to " + describe(y));
  std::vector<int64_t> shape = onnx_shape(y.shape());
  if (x.rank() > 0 && y.rank() > 0 && x.dim(0) == y.dim(0)) shape[0] = 0;  // as it is
  bind(y, graph_.node("Reshape", {name(x), graph_.constant(shape)}));
}

void Translator::concat_channels(const OpEvent& e) {
  std::vector<std::string> inputs;
  for (const Tensor& part : e.inputs) inputs.push_back(name(part));
  bind(e.output, graph_.node("Concat", inputs, {.integer = {{"axis", e.output.rank() == 4 ? 1 : -1}}}));
}

void Translator::channel_gate(const OpEvent& e) {
  const std::string x = name(e.inputs[0]), y = graph_.node("Mul", {x, name(e.inputs[1])});
  bind(e.output, is_set(e, "residual") ? graph_.node("Add", {y, x}) : y);
}

// ONNX's SpaceToDepth has another order of channels; PixelUnshuffle's is that of a transposition.
void Translator::space_to_depth(const OpEvent& e) {
  const Tensor& x = e.inputs[0];
  const int64_t side = integers(e, "side")[0], rows = x.dim(1) / side, columns = x.dim(2) / side;
  // 0: the number of images, as it is
  const std::string split =
      graph_.node("Reshape", {name(x), graph_.constant(std::vector<int64_t>{0, x.dim(3), rows, side, columns, side})});
  const std::string turned = graph_.node("Transpose", {split}, {.integers = {{"perm", {0, 1, 3, 5, 2, 4}}}});
  bind(e.output,
       graph_.node("Reshape", {turned, graph_.constant(std::vector<int64_t>{0, e.output.dim(3), rows, columns})}));
}

void Translator::patch_means(const OpEvent& e) {
  const int64_t side = integers(e, "side")[0];
  bind(e.output, graph_.node("AveragePool", {name(e.inputs[0])},
                             {.integers = {{"kernel_shape", {side, side}}, {"strides", {side, side}}}}));
}

void Translator::softmax(const OpEvent& e) {
  const std::string type = e.op == "softmax" ? "Softmax" : "LogSoftmax";
  bind(e.output, graph_.node(type, {name(e.inputs[0])}, {.integer = {{"axis", e.output.rank() == 4 ? 1 : -1}}}));
}

void Translator::copy(const OpEvent& e) { bind(e.output, name(e.inputs[0])); }

}  // namespace segrt::onnx_export
