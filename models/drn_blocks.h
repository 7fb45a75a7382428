// The parts of DRN beside its residual blocks: stages of plain convolutions, and the fixed upsampling. Every
// convolution is followed by batch norm; a 3x3 of dilation d has padding d.
#pragma once

#include "autograd/pool.h"
#include "models/residual_blocks.h"

namespace segrt::models {

// convolutions x (conv, norm, ReLU); the stride is the first one's. Children 0, 1 (norm), 3, 4, 6, ...: a ReLU takes
// each third number.
class PlainStage final : public Stage {
 public:
  struct Options {
    int in, planes, convolutions, kernel = 3, stride = 1, dilation = 1;
  };
  PlainStage(const Options& o, nn::Init& init);
  Var forward(const Var& x) const override;
  int width() const override { return width_; }

 private:
  int width_;
  std::vector<std::pair<nn::Conv2d*, nn::BatchNorm*>> layers_;
};

// up.weight [classes,16,16,1]: w[c,i,j] = t(i) t(j), t(i) = 1 - |i/8 - 15/16|. State that is not trained, and used as
// loaded.
class FixedUpsampling final : public nn::Module {
 public:
  FixedUpsampling(int classes, Device& device);
  const Tensor& kernel() const { return weight_.value(); }
  bool is_standard() const;  // whether the weight is the formula's: then the fused kernels apply

 private:
  Var& weight_;
  std::vector<float> standard_;
  mutable uint64_t checked_version_ = ~uint64_t{0};
  mutable bool is_standard_ = true;
};

}  // namespace segrt::models
