// The parts of DRN: stages of plain convolutions, of basic blocks and of bottlenecks; the fixed upsampling.
// Every convolution is followed by batch norm; a 3x3 of dilation d has padding d.
#pragma once

#include "autograd/pool.h"
#include "nn/layers.h"

namespace segrt::models {

class Stage : public nn::Module {
 public:
  virtual Var forward(const Var& x) const = 0;  // [N,H,W,in] -> [N,H/stride,W/stride,width]
  virtual int width() const = 0;
};

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

class Block : public nn::Module {
 public:
  struct Options {
    int in, planes, stride = 1, dilation = 1;
    bool residual = true;  // basic blocks only: false adds no shortcut (an existing one is still evaluated)
  };
  virtual Var forward(const Var& x) const = 0;

 protected:
  // The shortcut of a block with `out` channels: identity, or a strided 1x1 with norm where shapes change. Made last:
  // state order.
  void make_shortcut(const Options& o, int out, nn::Init& init);
  Var shortcut(const Var& x) const;
  bool has_projection() const { return projection_ != nullptr; }

 private:
  nn::Conv2d* projection_ = nullptr;
  nn::BatchNorm* projection_bn_ = nullptr;
};

// blocks x basic block or bottleneck; children 0, 1, 2, ...
class BlockStage final : public Stage {
 public:
  struct Options {
    int in, planes, blocks, stride = 1, dilation = 1, first_dilation = 1;
    bool bottleneck = false, residual = true;
  };
  BlockStage(const Options& o, nn::Init& init);
  Var forward(const Var& x) const override;
  int width() const override { return width_; }

 private:
  int width_;
  std::vector<Block*> blocks_;
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
