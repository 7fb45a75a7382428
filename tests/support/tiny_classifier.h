// A classifier small enough for the emulator: two convolutions with batch norm, global pooling and a 1x1 convolution;
// or a class activation map of stride 4 in place of the pooled scores.
#pragma once

#include "autograd/pool.h"
#include "models/model.h"
#include "nn/layers.h"

namespace segrt::test {

class TinyClassifier : public models::Model {
 public:
  TinyClassifier(int classes, bool out_map, nn::Init& init)
      : Model("tiny_classifier", models::Task::classification, classes),
        out_map_(out_map),
        conv1_(child<nn::Conv2d>("conv1", {.in = 3, .out = 12, .kernel = 5, .stride = 2, .padding = 2}, init)),
        bn1_(child<nn::BatchNorm>("bn1", {.channels = 12}, init)),
        conv2_(child<nn::Conv2d>("conv2", {.in = 12, .out = 16, .stride = 2, .padding = 1}, init)),
        bn2_(child<nn::BatchNorm>("bn2", {.channels = 16}, init)),
        fc_(child<nn::Conv2d>("fc", {.in = 16, .out = classes, .kernel = 1, .bias = true}, init)) {}

  std::vector<models::Head> forward(const Var& image) override {
    Var x = nn::conv_bn(conv1_, bn1_, image, nn::Act::relu);
    x = nn::conv_bn(conv2_, bn2_, x, nn::Act::relu);
    if (!out_map_) x = autograd::global_avg_pool(x);
    return {{.scores = fc_.forward(x), .up = {}}};
  }
  int class_map_stride() const override { return out_map_ ? 4 : 0; }

 private:
  bool out_map_;
  nn::Conv2d& conv1_;
  nn::BatchNorm& bn1_;
  nn::Conv2d& conv2_;
  nn::BatchNorm& bn2_;
  nn::Conv2d& fc_;
};

}  // namespace segrt::test
