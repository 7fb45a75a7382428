// A segmentation network small enough for the emulator: two convolutions with batch norm, a residual, and an aligned
// head at 1/2 resolution.
#pragma once

#include "autograd/elementwise.h"
#include "models/model.h"
#include "nn/layers.h"

namespace segrt::test {

class TinyNetwork : public models::Model {
 public:
  TinyNetwork(int classes, nn::Init& init)
      : Model("tiny", models::Task::segmentation, classes),
        conv1_(child<nn::Conv2d>("conv1", {.in = 3, .out = 8, .stride = 2, .padding = 1}, init)),
        bn1_(child<nn::BatchNorm>("bn1", {.channels = 8}, init)),
        conv2_(child<nn::Conv2d>("conv2", {.in = 8, .out = 8, .padding = 2, .dilation = 2}, init)),
        bn2_(child<nn::BatchNorm>("bn2", {.channels = 8}, init)),
        head_(child<nn::Conv2d>("head", {.in = 8, .out = classes, .kernel = 1, .bias = true}, init)) {}

  std::vector<models::Head> forward(const Var& image) override {
    const Var x = nn::conv_bn(conv1_, bn1_, image, nn::Act::relu);
    const Var y = nn::conv_bn(conv2_, bn2_, x, nn::Act::relu, x);
    const Var scores = head_.forward(y);
    return {{.scores = scores,
             .up = {.rule = nn::Upsampling::Rule::bilinear_half_pixel,
                    .height = static_cast<int>(image.dim(1)),
                    .width = static_cast<int>(image.dim(2)),
                    .kernel = {}}}};
  }

 private:
  nn::Conv2d& conv1_;
  nn::BatchNorm& bn1_;
  nn::Conv2d& conv2_;
  nn::BatchNorm& bn2_;
  nn::Conv2d& head_;
};

}  // namespace segrt::test
