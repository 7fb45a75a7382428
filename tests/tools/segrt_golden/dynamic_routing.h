// Golden files of Dynamic Routing: what inference and training share.
#pragma once

#include <string>
#include <vector>

#include "models/dynamic_routing.h"
#include "tests/tools/segrt_golden/families.h"
#include "tests/tools/segrt_golden/sensitivity.h"

namespace segrt::golden {

// Gates, or their logits, as [1+L, 4, (keep, up, down), N]; NaN where absent or not evaluated.
std::vector<double> routing_grid(const models::Routing& routing, bool values);
// The largest difference, relative where the expected value is beyond 1; a NaN must meet a NaN.
void compare_with_gaps(const std::string& name, const std::vector<double>& got, const std::vector<double>& expected,
                       double tolerance, Report& report);

// Training mode: gates, budget at several step rates, losses, gradient norms, statistics, and the trajectories of three
// optimizer steps. `build` gives a network in the file's state.
void run_dynamic_training(GoldenFile& file, const BuildNetwork& build, Device& device, Report& report);

// The loss of the first training step with the input in `precision`.
double first_dynamic_loss(GoldenFile& file, Device& device, DType precision);

}  // namespace segrt::golden
