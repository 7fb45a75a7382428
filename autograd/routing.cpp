#include "autograd/routing.h"

#include "autograd/sample_sums.h"
#include "core/error.h"
#include "core/op_event.h"
#include "core/op_scope.h"
#include "kernels/gate.h"

namespace segrt::autograd {

Var gate(const Var& y, const Var& weight, const Var& bias, Tensor* z_out) {
  const FunctionScope scope("gate", y.device());
  const int64_t batch = y.dim(0), slots = weight.dim(0);
  Tensor pooled = Tensor::empty({batch, y.dim(3)}, weight.dtype(), y.device());
  Tensor z = Tensor::empty({batch, slots}, weight.dtype(), y.device()), g = Tensor::like(z);
  kernels::gate_forward(y.value(), weight.value(), bias.value(), pooled, z, g);
  if (z_out != nullptr) *z_out = z;
  if (const auto& see = g.device().op_observer) see({"gate", {y.value(), weight.value(), bias.value()}, g});
  // The map y is not kept: its mean is all that the 1x1 convolution saw of it.
  return record("gate", {y, weight, bias}, g,
                [pooled, g, weight_v = weight.value(), bias_v = bias.value(), shape = y.shape(), dtype = y.dtype(),
                 dy_wanted = y.needs_grad(), dweight_wanted = weight.needs_grad(), dbias_wanted = bias.needs_grad(),
                 by_sample = sums_by_sample(weight) || sums_by_sample(bias)](const Tensor& dg) -> Grads {
                  Tensor dy;
                  if (dy_wanted) dy = Tensor::empty(shape, dtype, dg.device());
                  const auto wanted = [](Tensor& t) { return t.defined() ? &t : nullptr; };
                  if (by_sample) kernels::gate_backward(dg, pooled, g, weight_v, wanted(dy), nullptr, nullptr);
                  const auto [dweight, dbias] = sum_over_samples<2>(
                      {dweight_wanted ? weight_v : Tensor(), dbias_wanted ? bias_v : Tensor()}, shape[0], by_sample,
                      [&](int64_t first, int64_t count, auto& parts) {
                        kernels::gate_backward(dg.slice(first, count), pooled.slice(first, count),
                                               g.slice(first, count), weight_v, by_sample ? nullptr : wanted(dy),
                                               wanted(parts[0]), wanted(parts[1]));
                      });
                  return {dy, dweight, dbias};
                });
}

void route_senders(const std::vector<kernels::Sender>& senders, Tensor& flags) {
  kernels::route_senders(senders, flags);
  if (const auto& see = flags.device().op_observer) {
    OpEvent event{"route_senders", {}, flags};
    for (const kernels::Sender& s : senders) {
      event.inputs.push_back(s.flags);
      event.attributes["flag"].push_back(static_cast<double>(s.flag));
    }
    see(event);
  }
}

Var route_gates(const Var& gates, Tensor* flags) {
  const FunctionScope scope("route_gates", gates.device());
  Tensor factors = Tensor::empty({gates.dim(0), 1 + gates.dim(1)}, gates.dtype(), gates.device());
  kernels::route_gates(gates.value(), flags, factors);
  if (const auto& see = factors.device().op_observer)
    see({"route_gates", {gates.value(), flags != nullptr ? *flags : Tensor()}, factors});
  return record("route_gates", {gates}, factors, [shape = gates.shape()](const Tensor& dy) -> Grads {
    Tensor dgates = Tensor::empty(shape, dy.dtype(), dy.device());
    kernels::route_gates_backward(dy, dgates);
    return {dgates};
  });
}

namespace {
// What the backward pass keeps of a term: x only for its gate's gradient.
struct SavedTerm {
  explicit SavedTerm(const RoutedTerm& t)
      : gate(t.gate.value()),
        shape(t.x.shape()),
        slot(t.slot),
        upsample2(t.upsample2),
        dx_wanted(t.x.needs_grad()),
        dgate_wanted(t.gate.needs_grad()) {
    if (dgate_wanted) x = t.x.value();
  }
  kernels::GatedTerm term() const {
    return {x.defined() ? &x : nullptr, gate.defined() ? &gate : nullptr, slot, upsample2};
  }

  Tensor x, gate;
  Shape shape;
  int slot;
  bool upsample2, dx_wanted, dgate_wanted;
};

Grads gated_sum_gradients(const Tensor& dy, const std::vector<SavedTerm>& saved) {
  const size_t count = saved.size();
  Grads grads(2 * count);  // of every x, then of every gate
  std::vector<kernels::GatedTerm> terms;
  std::vector<kernels::GatedTermGrads> wanted(count);
  for (size_t t = 0; t < count; ++t) {
    const SavedTerm& s = saved[t];
    terms.push_back(s.term());
    if (s.dx_wanted) {
      const bool identity = !s.gate.defined() && !s.upsample2;
      grads[t] = identity ? dy : Tensor::empty(s.shape, dy.dtype(), dy.device());
      if (!identity) wanted[t].dx = &grads[t];
    }
    if (s.dgate_wanted) {
      grads[count + t] = Tensor::zeros_like(s.gate);
      wanted[t].dgate = &grads[count + t];
    }
  }
  kernels::gated_sum_backward(dy, terms, wanted);
  return grads;
}

// Inputs: x and gate of every term in turn.
OpEvent gated_sum_event(const std::vector<RoutedTerm>& terms, const Tensor& y) {
  OpEvent event{"gated_sum", {}, y};
  for (const RoutedTerm& t : terms) {
    event.inputs.insert(event.inputs.end(), {t.x.value(), t.gate.value()});
    event.attributes["slot"].push_back(t.slot);
    event.attributes["upsample2"].push_back(t.upsample2 ? 1 : 0);
  }
  return event;
}
}  // namespace

Var gated_sum(const std::vector<RoutedTerm>& terms) {
  if (terms.empty()) throw ArgumentError("gated_sum: expected 1 to 4 terms, got 0");
  const Var& x = terms[0].x;
  const FunctionScope scope("gated_sum", x.device());
  const int64_t grow = terms[0].upsample2 ? 2 : 1;
  Tensor y = Tensor::empty({x.dim(0), grow * x.dim(1), grow * x.dim(2), x.dim(3)}, x.dtype(), x.device());
  std::vector<kernels::GatedTerm> values;
  std::vector<SavedTerm> saved;
  std::vector<Var> inputs, gates;
  for (const RoutedTerm& t : terms) {
    values.push_back({&t.x.value(), t.gate.defined() ? &t.gate.value() : nullptr, t.slot, t.upsample2});
    saved.emplace_back(t);
    inputs.push_back(t.x);
    gates.push_back(t.gate);
  }
  kernels::gated_sum_forward(values, y);
  if (const auto& see = y.device().op_observer) see(gated_sum_event(terms, y));
  inputs.insert(inputs.end(), gates.begin(), gates.end());
  return record("gated_sum", inputs, y,
                [saved = std::move(saved)](const Tensor& dy) -> Grads { return gated_sum_gradients(dy, saved); });
}

Var expected_cost(const Var& gates, const kernels::RoutingCosts& costs) {
  const FunctionScope scope("expected_cost", gates.device());
  Tensor e = Tensor::empty({gates.dim(0)}, gates.dtype(), gates.device());
  kernels::expected_cost(gates.value(), costs, e);
  return record("expected_cost", {gates}, e, [g = gates.value(), costs](const Tensor& de) -> Grads {
    Tensor dgates = Tensor::like(g);
    kernels::expected_cost_backward(de, g, costs, dgates);
    return {dgates};
  });
}

}  // namespace segrt::autograd
