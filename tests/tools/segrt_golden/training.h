// The training part of a network's golden file: a few updates on one batch.
#pragma once

#include "tests/tools/segrt_golden/families.h"

namespace segrt::golden {

// In training mode from the filled weights: losses before each update and after the last, gradient norms at the first,
// running statistics after the first forward pass, and how far each parameter has gone after the last.
// The loss before the first update, with the input in `precision`.
double first_loss(GoldenFile& file, const NetworkRules& rules, Device& device, DType precision);

void run_training(GoldenFile& file, const NetworkRules& rules, Device& device, Report& report);

}  // namespace segrt::golden
