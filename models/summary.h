// Layers, shapes, parameters, multiply-adds and state of a network, from a dry run on a meta device.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "models/model.h"

namespace segrt::models {

struct LayerLine {
  std::string kind;  // "conv2d"
  std::string map;   // the named map it works towards: "layer3"
  Shape output;
  int64_t parameters = 0, multiply_adds = 0;
};
struct Summary {
  std::vector<LayerLine> layers;
  int64_t parameters = 0;                              // of the whole model, trained or not
  int64_t multiply_adds = 0;                           // of convolutions and linear layers
  std::map<std::string, int64_t> other_multiply_adds;  // by kind, of what is neither: "attention"
  int64_t state_tensors = 0;                           // entries of its state_dict
  Shape output;                                        // scores before upsampling
};

// Runs the network that `model_table` describes over an input [N,H,W,3] of shapes alone.
Summary summarize(const Config& model_table, const Shape& input);

// An entry of a network's state_dict, in PyTorch's layout.
struct StateLine {
  std::string name;
  DType dtype;
  Shape shape;
  bool parameter;  // else a buffer
};
std::vector<StateLine> state_lines(const Config& model_table);

}  // namespace segrt::models
