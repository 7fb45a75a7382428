#include <fmt/format.h>

#include <limits>

#include "autograd/loss.h"
#include "kernels/softmax.h"
#include "tests/tools/segrt_op_vectors/layout.h"
#include "tests/tools/segrt_op_vectors/operators.h"

namespace segrt::op_vectors {
namespace {
using Softmax = void (*)(const Tensor& x, Tensor& y);

// From opset 13 over one axis, the last if none is given. Before over all from the axis on, the second by default.
Tensor softmax_of(const Case& c, Softmax softmax) {
  const Tensor x = c.float_input(0);
  const bool flattens = c.opset() < 13;
  const int axis = normalized_axis(c.attributes().integer("axis", flattens ? 1 : -1), x.rank());
  const auto dims = x.shape().dims();
  if (flattens || axis == x.rank() - 1) {
    const auto split = static_cast<size_t>(axis);
    const Tensor rows = x.reshape({product(dims.first(split)), product(dims.subspan(split))});
    Tensor y = unwritten_like(rows);
    softmax(rows, y);
    return y.reshape(x.shape());
  }
  std::vector<int> order;  // the axis and the last change places; doing so twice gives the order back
  for (int k = 0; k < x.rank(); ++k) order.push_back(k);
  std::swap(order[static_cast<size_t>(axis)], order.back());
  const Tensor moved = permuted(x, order);
  Tensor y = unwritten_like(moved);
  softmax(moved, y);
  return permuted(y, order);
}

autograd::CrossEntropyOptions loss_options(const Case& c) {
  autograd::CrossEntropyOptions o;
  // No label has this value: without the attribute none is ignored.
  o.ignore_index = c.attributes().integer("ignore_index", std::numeric_limits<int64_t>::min());
  if (c.has_input(2)) o.class_weight = as_dtype(c.float_input(2), DType::f32);
  const std::string reduction = c.attributes().text("reduction", "mean");
  if (reduction == "none")
    o.reduction = autograd::Reduction::none;
  else if (reduction == "sum")
    o.reduction = autograd::Reduction::sum;
  else if (reduction == "mean")
    o.reduction = autograd::Reduction::mean;
  else
    throw Malformed(fmt::format("attribute reduction: unknown value {}", reduction));
  return o;
}

// Scores [N,C,D...] as [N,D...,C], labels [N,D...].
struct LossInputs {
  Tensor scores, labels;
};
LossInputs loss_inputs(const Case& c) {
  const Tensor x = c.float_input(0);
  if (x.rank() < 2) throw Malformed(fmt::format("expected scores [N,C,D...], got {}", to_string(x.shape())));
  LossInputs in{channels_last(x), c.input(1)};
  if (in.labels.shape() != Shape(in.scores.shape().dims().first(static_cast<size_t>(x.rank() - 1))))
    throw Malformed(
        fmt::format("labels {} do not belong to scores {}", to_string(in.labels.shape()), to_string(x.shape())));
  return in;
}

Tensor loss_output(const Var& loss, const autograd::CrossEntropyOptions& o, const Tensor& scores) {
  const Tensor y = as_dtype(loss.value(), scores.dtype());
  return o.reduction == autograd::Reduction::none ? y : y.reshape(Shape{});
}

}  // namespace

Outputs run_softmax(const Case& c) { return {softmax_of(c, kernels::softmax_forward)}; }
Outputs run_log_softmax(const Case& c) { return {softmax_of(c, kernels::log_softmax_forward)}; }

Outputs run_negative_log_likelihood_loss(const Case& c) {
  const LossInputs in = loss_inputs(c);
  const autograd::CrossEntropyOptions o = loss_options(c);
  return {loss_output(autograd::nll(in.scores, in.labels, o), o, in.scores)};
}

Outputs run_softmax_cross_entropy_loss(const Case& c) {
  const LossInputs in = loss_inputs(c);
  const autograd::CrossEntropyOptions o = loss_options(c);
  Outputs outputs{loss_output(autograd::cross_entropy(in.scores, in.labels, o), o, in.scores)};
  if (c.wants_output(1)) outputs.push_back(channels_first(autograd::log_softmax(in.scores).value()));
  return outputs;
}

}  // namespace segrt::op_vectors
