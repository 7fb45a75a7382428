// The head of fully convolutional networks (Long et al. 2015) as OpenMMLab names it, and its unit of convolution, batch
// norm and ReLU.
#pragma once

#include "nn/norm_group.h"

namespace segrt::models {

// Children conv (without bias) and bn; the padding keeps the size at stride 1.
class ConvBn final : public nn::Module {
 public:
  struct Options {
    int in, out, kernel = 3, stride = 1;
    nn::Act act = nn::Act::relu;
  };
  ConvBn(const Options& o, nn::Init& init);
  Var forward(const Var& x) const { return nn::conv_bn(conv_, bn_, x, act_); }
  nn::ConvBnPart part(const Var& x) const { return {conv_, bn_, x, act_}; }  // for nn::concat_conv_bn
  nn::NormPart norm_part(const Var& x) const { return {&conv_, bn_, x, act_}; }
  const nn::BatchNorm& norm() const { return bn_; }

 private:
  nn::Act act_;
  nn::Conv2d& conv_;
  nn::BatchNorm& bn_;
};

// scores = conv_seg(dropout(convs.0(x))): 3x3 to `channels`, whole channels dropped in training, 1x1 to the classes.
class FcnHead final : public nn::Module {
 public:
  struct Options {
    int in, channels, classes;
    double dropout = 0.1;
    uint64_t layer = 0;  // distinguishes the heads' random numbers
  };
  FcnHead(const Options& o, nn::Init& init);
  Var forward(const Var& x) const { return classify(conv_.forward(x)); }  // [N,H,W,in] -> [N,H,W,classes]
  // The same in two steps, convs.0 and the rest.
  const ConvBn& conv() const { return conv_; }
  Var classify(const Var& x) const;

 private:
  double dropout_;
  uint64_t seed_, layer_;
  nn::Conv2d& classify_;
  ConvBn& conv_;
};

}  // namespace segrt::models
