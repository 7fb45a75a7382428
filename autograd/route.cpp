#include "autograd/route.h"

namespace segrt::autograd {

Var route_gates(const Var& gates, Tensor* flags) {
  Tensor factors = Tensor::empty({gates.dim(0), 1 + gates.dim(1)}, gates.dtype(), gates.device());
  kernels::route_gates(gates.value(), flags, factors);
  return record("route_gates", {gates}, factors, [shape = gates.shape()](const Tensor& dy) -> Grads {
    Tensor dgates = Tensor::empty(shape, dy.dtype(), dy.device());
    kernels::route_gates_backward(dy, dgates);
    return {dgates};
  });
}

Var expected_cost(const Var& gates, const kernels::RoutingCosts& costs) {
  Tensor e = Tensor::empty({gates.dim(0)}, gates.dtype(), gates.device());
  kernels::expected_cost(gates.value(), costs, e);
  return record("expected_cost", {gates}, e, [g = gates.value(), costs](const Tensor& de) -> Grads {
    Tensor dgates = Tensor::like(g);
    kernels::expected_cost_backward(de, g, costs, dgates);
    return {dgates};
  });
}

}  // namespace segrt::autograd
