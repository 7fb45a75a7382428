// The operators of dynamic routing. A graph has no branches that skip work here: every cell is computed, and what the
// runtime would not have computed is multiplied by zero.
#include "core/error.h"
#include "kernels/routing.h"
#include "models/onnx/translate.h"

namespace segrt::onnx_export {
using kernels::CellFlag;

// Flags that are constants of the network hold whatever they hold.
Translator::Flags& Translator::flags_of(const Tensor& flags) {
  const auto [found, is_new] = flags_.try_emplace(flags.storage_id());
  if (is_new) {
    if (flags.storage_id() >= first_new_)
      throw ArgumentError("ONNX export: routing flags that no operator has written");
    const std::vector<int32_t> values = flags.to_vector<int32_t>();
    const auto constant = [&](CellFlag which) { return scalar(values.at(static_cast<size_t>(which)) != 0 ? 1 : 0); };
    found->second = {constant(CellFlag::fed), constant(CellFlag::executed)};
  }
  return found->second;
}

void Translator::route_senders(const OpEvent& e) {
  std::vector<std::string> sent;
  for (size_t i = 0; i < e.inputs.size(); ++i) {
    const Flags& f = flags_of(e.inputs[i]);
    const auto which = static_cast<CellFlag>(static_cast<int>(e.attributes.at("flag").at(i)));
    if (which != CellFlag::fed && which != CellFlag::executed)
      throw ArgumentError("ONNX export: a cell is fed by something other than a cell");
    sent.push_back(which == CellFlag::fed ? f.fed : f.executed);
  }
  flags_[e.output.storage_id()] = {sent.size() == 1 ? sent[0] : graph_.node("Max", sent),
                                   ""};  // executed: route_gates says
}

// relu(tanh(weight mean(y) + bias)), [N,S,1,1].
void Translator::gate(const OpEvent& e) {
  const std::string pooled = graph_.node("GlobalAveragePool", {name(e.inputs[0])});
  const std::string z = graph_.node("Conv", {pooled, name(e.inputs[1]), name(e.inputs[2])});
  bind(e.output, graph_.node("Relu", {graph_.node("Tanh", {z})}));
}

// With closed[n] = (sum of the gates of n) < kClosedBelow and executed = fed and not (sum of all gates) < kClosedBelow:
// factors[n] = (fed - executed * (1 - closed[n]), executed * gates[n]).
void Translator::route_gates(const OpEvent& e) {
  const std::string gates = name(e.inputs[0]);
  const auto open = [&](const std::vector<int64_t>& axes) {
    const std::string sum = graph_.node("ReduceSum", {gates, graph_.constant(axes)});
    return graph_.node("Cast", {graph_.node("GreaterOrEqual", {sum, scalar(kernels::kClosedBelow)})},
                       {.integer = {{"to", 1}}});
  };
  const bool flagged = e.inputs[1].defined();
  const std::string fed = flagged ? flags_of(e.inputs[1]).fed : scalar(1);
  const std::string executed = flagged ? graph_.node("Mul", {fed, open({0, 1, 2, 3})}) : scalar(1);
  if (flagged) flags_of(e.inputs[1]).executed = executed;
  const std::string raw = graph_.node("Sub", {fed, graph_.node("Mul", {executed, open({1})})});
  bind(e.output, graph_.node("Concat", {raw, graph_.node("Mul", {executed, gates})}, {.integer = {{"axis", 1}}}));
}

std::string Translator::column(const std::string& factors, int64_t index) {
  std::string& name = columns_[{factors, index}];
  if (name.empty())
    name =
        graph_.node("Slice", {factors, graph_.constant({index}), graph_.constant({index + 1}), graph_.constant({1})});
  return name;
}

void Translator::gated_sum(const OpEvent& e) {
  std::string sum;
  for (size_t i = 0; i + 1 < e.inputs.size(); i += 2) {
    const Tensor &x = e.inputs[i], &gate = e.inputs[i + 1];
    std::string term = name(x);
    if (e.attributes.at("upsample2").at(i / 2) != 0)
      term = graph_.node("Resize", {term, "", graph_.constant({4}, {1, 1, 2, 2})},
                         {.text = {{"mode", "linear"}, {"coordinate_transformation_mode", "half_pixel"}}});
    if (gate.defined())
      term = graph_.node("Mul", {term, column(name(gate), static_cast<int64_t>(e.attributes.at("slot").at(i / 2)))});
    sum = sum.empty() ? term : graph_.node("Add", {sum, term});
  }
  bind(e.output, sum);
}

}  // namespace segrt::onnx_export
