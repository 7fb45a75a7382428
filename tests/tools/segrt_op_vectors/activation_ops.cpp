#include <fmt/format.h>

#include <limits>
#include <string_view>
#include <utility>

#include "kernels/elementwise.h"
#include "tests/tools/segrt_op_vectors/layout.h"
#include "tests/tools/segrt_op_vectors/operators.h"

namespace segrt::op_vectors {
namespace {
using kernels::Binary;
using kernels::Unary;
using kernels::UnaryParams;

struct UnaryCall {
  Unary op;
  UnaryParams params;
};

// The operators without attributes.
constexpr std::pair<std::string_view, Unary> kPlain[] = {
    {"Relu", Unary::relu}, {"Sigmoid", Unary::sigmoid}, {"Tanh", Unary::tanh}, {"Erf", Unary::erf}, {"Exp", Unary::exp},
    {"Log", Unary::log},   {"Sqrt", Unary::sqrt},       {"Abs", Unary::abs},   {"Neg", Unary::neg}};

// Defaults are the ONNX standard's; Selu's first version rounded its constants to five digits.
UnaryCall unary_call(const Case& c) {
  const Attributes& at = c.attributes();
  const std::string& op = c.op();
  if (op == "LeakyRelu") return {Unary::leaky_relu, {.alpha = at.number("alpha", 0.01)}};
  if (op == "HardSigmoid") return {Unary::hard_sigmoid, {at.number("alpha", 0.2), at.number("beta", 0.5)}};
  if (op == "Selu") {
    const bool first = c.opset() < 6;
    return {Unary::selu,
            {at.number("alpha", first ? 1.6732 : 1.67326319217681884765625),
             at.number("gamma", first ? 1.0507 : 1.05070102214813232421875)}};
  }
  if (op == "Elu") return {Unary::selu, {at.number("alpha", 1), 1}};
  if (op == "Gelu") {
    const std::string approximate = at.text("approximate", "none");
    if (approximate != "none" && approximate != "tanh")
      throw Malformed(fmt::format("attribute approximate: unknown value {}", approximate));
    return {approximate == "tanh" ? Unary::gelu_tanh : Unary::gelu, {}};
  }
  for (const auto& [name, unary_op] : kPlain)
    if (op == name) return {unary_op, {}};
  throw Unsupported(op);
}

Tensor unary(Unary op, const Tensor& x, UnaryParams params = {}) {
  Tensor y = unwritten_like(x);
  kernels::unary_forward(op, x, y, params);
  return y;
}
Tensor binary(Binary op, const Tensor& a, const Tensor& b) {
  Tensor y = unwritten_like(a);
  kernels::binary_forward(op, a, b, y);
  return y;
}
Tensor scaled(const Tensor& x, double alpha, double beta = 0) {
  Tensor y = unwritten_like(x);
  kernels::scale(x, alpha, beta, y);
  return y;
}

Tensor one(const Tensor& like) {
  Tensor y = unwritten({1}, like.dtype(), like.device());
  kernels::fill(y, 1);
  return y;
}

// log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), which does not overflow.
Tensor softplus(const Tensor& x) {
  const Tensor tail = unary(Unary::exp, unary(Unary::neg, unary(Unary::abs, x)));
  return binary(Binary::add, unary(Unary::relu, x), unary(Unary::log, scaled(tail, 1, 1)));
}

Tensor composed(const Case& c, const Tensor& x) {
  const std::string& op = c.op();
  if (op == "Celu") {  // alpha * elu(x / alpha)
    const double alpha = c.attributes().number("alpha", 1);
    return scaled(unary(Unary::selu, scaled(x, 1 / alpha), {1, 1}), alpha);
  }
  if (op == "HardSwish") return binary(Binary::mul, x, unary(Unary::hard_sigmoid, x, {1.0 / 6, 0.5}));
  if (op == "Mish") return binary(Binary::mul, x, unary(Unary::tanh, softplus(x)));
  if (op == "Softplus") return softplus(x);
  if (op == "Softsign") return binary(Binary::div, x, scaled(unary(Unary::abs, x), 1, 1));
  if (op == "Swish") return binary(Binary::mul, x, unary(Unary::sigmoid, scaled(x, c.attributes().number("alpha", 1))));
  return binary(Binary::div, expanded(one(x), x.shape()), x);  // Reciprocal
}

// An optional scalar input (an attribute before opset 11).
double limit(const Case& c, size_t i, const char* name, double fallback) {
  if (c.opset() < 11) return c.attributes().number(name, fallback);
  if (!c.has_input(i)) return fallback;
  const Tensor t = c.float_input(i);
  if (t.numel() != 1) throw Malformed(fmt::format("{}: expected one number, got {}", name, to_string(t.shape())));
  return t.item();
}

}  // namespace

Outputs run_unary(const Case& c) {
  const Tensor x = c.float_input(0);
  const UnaryCall call = unary_call(c);
  return {unary(call.op, x, call.params)};
}

Outputs run_composed_activation(const Case& c) {
  const Tensor x = c.float_input(0);
  return {as_dtype(composed(c, widened(x)), x.dtype())};
}

Outputs run_clip(const Case& c) {
  const Tensor x = c.float_input(0);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return {unary(Unary::clip, x, {limit(c, 1, "min", -kInfinity), limit(c, 2, "max", kInfinity)})};
}

// max(x, 0) + slope * min(x, 0); the slope broadcasts. Before opset 7 a slope of several elements is one a channel.
Outputs run_prelu(const Case& c) {
  const Tensor x = c.float_input(0);
  Tensor slope = c.float_input(1);
  if (c.opset() < 7 && slope.rank() == 1 && slope.dim(0) != 1 && x.rank() > 2) {
    Dims dims(static_cast<size_t>(x.rank() - 1), 1);
    dims[0] = slope.dim(0);
    slope = slope.reshape(shape_of(dims));
  }
  if (broadcast_shape(x.shape(), slope.shape()) != x.shape())
    throw Malformed(fmt::format("slope {} does not broadcast to {}", to_string(slope.shape()), to_string(x.shape())));
  const Tensor negative = unary(Unary::clip, x, {-std::numeric_limits<double>::infinity(), 0});
  return {binary(Binary::add, unary(Unary::relu, x), binary(Binary::mul, negative, slope))};
}

}  // namespace segrt::op_vectors
