// CPU side of kernels/routing.h.
#pragma once

#include "kernels/routing.h"

namespace segrt::kernels::cpu {

void route_senders(const std::vector<Sender>& senders, Tensor& flags);
void route_gates(const Tensor& gates, Tensor* flags, Tensor& factors);
void route_gates_backward(const Tensor& dfactors, Tensor& dgates);
void expected_cost(const Tensor& gates, const RoutingCosts& costs, Tensor& e);
void expected_cost_backward(const Tensor& de, const Tensor& gates, const RoutingCosts& costs, Tensor& dgates);

}  // namespace segrt::kernels::cpu
