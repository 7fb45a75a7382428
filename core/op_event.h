// What an operator computed, told to those who record a network as a graph (Device::op_observer).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace segrt {

struct OpEvent {
  std::string op;              // "max_pool2d"
  std::vector<Tensor> inputs;  // in the operator's order; undefined where an optional one is absent
  Tensor output;
  std::map<std::string, std::vector<double>> attributes = {};  // {"stride", {2, 2}}
};

}  // namespace segrt
