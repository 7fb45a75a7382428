// Residual blocks and stages of them (He et al. 2016, arXiv:1512.03385), for ResNets and their dilated kin. Every
// convolution is followed by batch norm; a 3x3 of dilation d has padding d.
#pragma once

#include <string>
#include <vector>

#include "nn/layers.h"

namespace segrt::models {

class Stage : public nn::Module {
 public:
  virtual Var forward(const Var& x) const = 0;  // [N,H,W,in] -> [N,H/stride,W/stride,width]
  virtual int width() const = 0;
};

class Block : public nn::Module {
 public:
  struct Options {
    int in, planes, stride = 1, dilation = 1;
    bool residual = true;         // basic blocks only: false adds no shortcut (an existing one is still evaluated)
    bool zero_last_norm = false;  // basic blocks only: the last norm's weight starts at 0, the block as its shortcut
  };
  virtual Var forward(const Var& x) const = 0;

 protected:
  // The shortcut of a block with `out` channels: identity, or a strided 1x1 with norm where shapes change. Made last:
  // state order.
  void make_shortcut(const Options& o, int out, nn::Init& init);
  // What reads the block's input: the shortcut (x itself, or the projection), and relu(bn(conv(x))).
  struct Begun {
    Var identity, y;
  };
  Begun begin(const Var& x, const nn::Conv2d& conv, const nn::BatchNorm& bn) const;

 private:
  nn::Conv2d* projection_ = nullptr;
  nn::BatchNorm* projection_bn_ = nullptr;
};

// blocks x basic block or bottleneck; children 0, 1, 2, ...
class BlockStage final : public Stage {
 public:
  struct Options {
    int in, planes, blocks, stride = 1, dilation = 1, first_dilation = 1;
    bool bottleneck = false, residual = true, zero_last_norm = false;
  };
  BlockStage(const Options& o, nn::Init& init);
  Var forward(const Var& x) const override;
  int width() const override { return width_; }

 private:
  int width_;
  std::vector<Block*> blocks_;
};

}  // namespace segrt::models
