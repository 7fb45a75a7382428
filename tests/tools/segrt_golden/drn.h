#pragma once

#include <map>
#include <string>

#include "models/model.h"

namespace segrt::golden {

// The damped parameters of a DRN: the last norm scale of each residual branch, that is bn3.weight of bottlenecks and
// bn2.weight of basic blocks with a shortcut (layers 7 and 8 of family C have none). Undamped, deep random networks
// magnify rounding too much to compare two runs.
std::map<std::string, float> drn_damping(models::Model& model);

}  // namespace segrt::golden
