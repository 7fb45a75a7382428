// A network's golden file: inference (logits, scores, intermediate maps), then three training steps.
#pragma once

#include "tests/tools/segrt_golden/families.h"

namespace segrt::golden {

// Largest absolute difference of logits, and relative L2 of intermediate maps, between two float32 forward passes.
inline constexpr double kForwardTolerance = 5e-5;

// The input of the inference part.
Tensor network_input(GoldenFile& file, Device& device);

Results network_results(GoldenFile& file, models::Model& model, const Tensor& input);

void run_network(GoldenFile& file, const NetworkRules& rules, Device& device, Report& report);

}  // namespace segrt::golden
