// EfficientNet-B1 (Tan & Le 2019, arXiv:1905.11946) without its head. Names are those of timm's efficientnet_b1;
// padding is symmetric.
#pragma once

#include <array>
#include <vector>

#include "models/trunk.h"
#include "nn/layers.h"

namespace segrt::models {

// x times sigmoid(W2 silu(W1 mean(x))), one factor a channel (Hu et al. 2018, arXiv:1709.01507).
class SqueezeExcitation final : public nn::Module {
 public:
  struct Options {
    int channels, reduced;
  };
  SqueezeExcitation(const Options& o, nn::Init& init);
  Var forward(const Var& x) const;

 private:
  nn::Conv2d &reduce_, &expand_;
};

// Inverted residual (Sandler et al. 2018): 1x1 to `expand` times the channels, depthwise, squeeze-and-excitation, 1x1
// without activation. expand == 1: a depthwise separable convolution, without the first 1x1.
class InvertedResidual final : public nn::Module {
 public:
  struct Options {
    int in, out, kernel, stride, expand;
    double drop_path = 0;  // in training, the probability that an image passes by the shortcut alone
    uint64_t layer = 0;    // distinguishes the blocks' random numbers
  };
  InvertedResidual(const Options& o, nn::Init& init);
  Var forward(const Var& x) const;

 private:
  bool adds_input() const { return options_.stride == 1 && options_.in == options_.out; }

  Options options_;
  uint64_t seed_;
  nn::Conv2d* expand_ = nullptr;
  nn::BatchNorm* expand_bn_ = nullptr;
  nn::Conv2d* depthwise_;
  nn::BatchNorm* depthwise_bn_;
  SqueezeExcitation* attention_;
  nn::Conv2d* project_;
  nn::BatchNorm* project_bn_;
};

class EfficientNetB1 final : public Trunk {
 public:
  struct Options {
    double drop_path = 0;  // of the last block; earlier ones in proportion to their depth
  };
  EfficientNetB1(const Options& o, nn::Init& init);

  Var stem(const Var& image, const Tap& tap) const override;
  Var stage(int n, const Var& x, const Tap& tap) const override;
  std::array<int, 5> channels() const override { return {16, 24, 40, 112, 320}; }
  bool ignores_pretrained(const std::string& file_name) const override;

 private:
  Var run_group(int group, Var x, const Tap& tap) const;

  nn::Conv2d& stem_;
  nn::BatchNorm& stem_bn_;
  std::vector<std::vector<InvertedResidual*>> groups_;  // timm's "blocks.i"
};

}  // namespace segrt::models
