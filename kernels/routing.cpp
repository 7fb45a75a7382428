#include "kernels/routing.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cpu/routing.h"
#include "kernels/cuda/routing.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {
namespace {
void require_gate_dtype(std::string_view op, std::string_view name, const Tensor& t) {
  require_defined(op, name, t);
  if (t.device().is_cpu())
    require_dtype(op, name, t, {DType::f32, DType::f64});
  else
    require_dtype(op, name, t, {DType::f32});
}

void require_flags(std::string_view op, const Tensor& flags) {
  require_shape(op, "flags", flags, Shape{kCellFlags});
  require_dtype(op, "flags", flags, {DType::i32});
}

void require_costs(std::string_view op, const Tensor& gates, const RoutingCosts& costs) {
  require_gate_dtype(op, "gates", gates);
  require_rank(op, "gates", gates, 2);
  require_rank(op, "body", costs.body, 1);
  require_dtype(op, "first", costs.first, {DType::i32});
  require_shape(op, "first", costs.first, Shape{costs.body.dim(0) + 1});
  require_shape(op, "path", costs.path, Shape{gates.dim(1)});
  for (const Tensor* t : {&costs.body, &costs.path}) require_dtype(op, "costs", *t, {gates.dtype()});
  for (const Tensor* t : {&costs.first, &costs.body, &costs.path}) require_device(op, "costs", *t, gates);
}
}  // namespace

void route_senders(const std::vector<Sender>& senders, Tensor& flags) {
  require_flags("route_senders", flags);
  if (senders.empty() || senders.size() > 3)
    throw ArgumentError(fmt::format("route_senders: senders: expected 1 to 3, got {}", senders.size()));
  for (const Sender& s : senders) {
    require_flags("route_senders", s.flags);
    require_device("route_senders", "sender", s.flags, flags);
  }
  const OpScope scope("route_senders", flags, [&] { return OpWork{bytes_of(flags)}; });
  on_device(
      flags, [&] { cuda::route_senders(senders, flags); }, [&] { cpu::route_senders(senders, flags); });
}

void route_gates(const Tensor& gates, Tensor* flags, Tensor& factors) {
  require_gate_dtype("route_gates", "gates", gates);
  require_rank("route_gates", "gates", gates, 2);
  if (gates.dim(1) < 1 || gates.dim(1) > 3)
    throw ArgumentError("route_gates: gates: expected [N,1..3], got " + to_string(gates.shape()));
  require_shape("route_gates", "factors", factors, Shape{gates.dim(0), 1 + gates.dim(1)});
  require_dtype("route_gates", "factors", factors, {gates.dtype()});
  require_device("route_gates", "factors", factors, gates);
  if (flags != nullptr) {
    require_flags("route_gates", *flags);
    require_device("route_gates", "flags", *flags, gates);
  }
  const OpScope scope("route_gates", factors, [&] { return OpWork{bytes_of(gates, factors)}; });
  on_device(
      gates, [&] { cuda::route_gates(gates, flags, factors); }, [&] { cpu::route_gates(gates, flags, factors); });
}

void route_gates_backward(const Tensor& dfactors, Tensor& dgates) {
  require_gate_dtype("route_gates_backward", "dgates", dgates);
  require_rank("route_gates_backward", "dgates", dgates, 2);
  require_shape("route_gates_backward", "dfactors", dfactors, Shape{dgates.dim(0), 1 + dgates.dim(1)});
  require_dtype("route_gates_backward", "dfactors", dfactors, {dgates.dtype()});
  require_device("route_gates_backward", "dfactors", dfactors, dgates);
  const OpScope scope("route_gates_backward", dgates, [&] { return OpWork{bytes_of(dfactors, dgates)}; });
  on_device(
      dgates, [&] { cuda::route_gates_backward(dfactors, dgates); },
      [&] { cpu::route_gates_backward(dfactors, dgates); });
}

void expected_cost(const Tensor& gates, const RoutingCosts& costs, Tensor& e) {
  require_costs("expected_cost", gates, costs);
  require_shape("expected_cost", "e", e, Shape{gates.dim(0)});
  require_dtype("expected_cost", "e", e, {gates.dtype()});
  require_device("expected_cost", "e", e, gates);
  const OpScope scope("expected_cost", e, [&] { return OpWork{bytes_of(gates, e)}; });
  on_device(
      gates, [&] { cuda::expected_cost(gates, costs, e); }, [&] { cpu::expected_cost(gates, costs, e); });
}

void expected_cost_backward(const Tensor& de, const Tensor& gates, const RoutingCosts& costs, Tensor& dgates) {
  require_costs("expected_cost_backward", gates, costs);
  require_shape("expected_cost_backward", "de", de, Shape{gates.dim(0)});
  require_dtype("expected_cost_backward", "de", de, {gates.dtype()});
  require_device("expected_cost_backward", "de", de, gates);
  require_same("expected_cost_backward", "gates", gates, "dgates", dgates);
  const OpScope scope("expected_cost_backward", dgates, [&] { return OpWork{bytes_of(de, gates, dgates)}; });
  on_device(
      gates, [&] { cuda::expected_cost_backward(de, gates, costs, dgates); },
      [&] { cpu::expected_cost_backward(de, gates, costs, dgates); });
}

}  // namespace segrt::kernels
