#include "models/residual_blocks.h"

#include "nn/norm_group.h"

namespace segrt::models {
using nn::Act;
using nn::BatchNorm;
using nn::Conv2d;

void Block::make_shortcut(const Options& o, int out, nn::Init& init) {
  if (o.stride == 1 && o.in == out) return;
  nn::Sequence& downsample = child<nn::Sequence>("downsample");
  projection_ = &downsample.child<Conv2d>("0", {.in = o.in, .out = out, .kernel = 1, .stride = o.stride}, init);
  projection_bn_ = &downsample.child<BatchNorm>("1", {.channels = out}, init);
}

Block::Begun Block::begin(const Var& x, const Conv2d& conv, const BatchNorm& bn) const {
  if (projection_ == nullptr) return {x, nn::conv_bn(conv, bn, x, Act::relu)};
  if (nn::shares_messages(bn)) {
    const std::vector<Var> both = nn::norms_together({{projection_, *projection_bn_, x}, {&conv, bn, x, Act::relu}});
    return {both[0], both[1]};
  }
  const Var identity = nn::conv_bn(*projection_, *projection_bn_, x, Act::none);
  return {identity, nn::conv_bn(conv, bn, x, Act::relu)};
}

namespace {
class BasicBlock final : public Block {
 public:
  BasicBlock(const Options& o, nn::Init& init)
      : residual_(o.residual),
        conv1_(child<Conv2d>(
            "conv1", {.in = o.in, .out = o.planes, .stride = o.stride, .padding = o.dilation, .dilation = o.dilation},
            init)),
        bn1_(child<BatchNorm>("bn1", {.channels = o.planes}, init)),
        conv2_(child<Conv2d>("conv2", {.in = o.planes, .out = o.planes, .padding = o.dilation, .dilation = o.dilation},
                             init)),
        bn2_(child<BatchNorm>("bn2", {.channels = o.planes, .zero_weight = o.zero_last_norm}, init)) {
    make_shortcut(o, o.planes, init);
  }

  Var forward(const Var& x) const override {
    const nn::ModuleScope scope(*this, "block", x.device());
    // Without `residual` a projection that exists is evaluated all the same: its running statistics move (DRN-C-58,
    // layer7).
    const auto [identity, y] = begin(x, conv1_, bn1_);
    return nn::conv_bn(conv2_, bn2_, y, Act::relu, residual_ ? identity : Var());
  }

 private:
  bool residual_;
  Conv2d& conv1_;
  BatchNorm& bn1_;
  Conv2d& conv2_;
  BatchNorm& bn2_;
};

// The stride is on the 3x3; the output is four times as wide as `planes`.
class Bottleneck final : public Block {
 public:
  Bottleneck(const Options& o, nn::Init& init)
      : conv1_(child<Conv2d>("conv1", {.in = o.in, .out = o.planes, .kernel = 1}, init)),
        bn1_(child<BatchNorm>("bn1", {.channels = o.planes}, init)),
        conv2_(child<Conv2d>(
            "conv2",
            {.in = o.planes, .out = o.planes, .stride = o.stride, .padding = o.dilation, .dilation = o.dilation},
            init)),
        bn2_(child<BatchNorm>("bn2", {.channels = o.planes}, init)),
        conv3_(child<Conv2d>("conv3", {.in = o.planes, .out = 4 * o.planes, .kernel = 1}, init)),
        bn3_(child<BatchNorm>("bn3", {.channels = 4 * o.planes}, init)) {
    make_shortcut(o, 4 * o.planes, init);
  }

  Var forward(const Var& x) const override {
    const nn::ModuleScope scope(*this, "block", x.device());
    const auto [identity, narrow] = begin(x, conv1_, bn1_);
    const Var y = nn::conv_bn(conv2_, bn2_, narrow, Act::relu);
    return nn::conv_bn(conv3_, bn3_, y, Act::relu, identity);
  }

 private:
  Conv2d& conv1_;
  BatchNorm& bn1_;
  Conv2d& conv2_;
  BatchNorm& bn2_;
  Conv2d& conv3_;
  BatchNorm& bn3_;
};
}  // namespace

BlockStage::BlockStage(const Options& o, nn::Init& init) : width_(o.planes * (o.bottleneck ? 4 : 1)) {
  for (int i = 0; i < o.blocks; ++i) {
    const Block::Options options{.in = i == 0 ? o.in : width_,
                                 .planes = o.planes,
                                 .stride = i == 0 ? o.stride : 1,
                                 .dilation = i == 0 ? o.first_dilation : o.dilation,
                                 .residual = o.residual,
                                 .zero_last_norm = o.zero_last_norm};
    const std::string name = std::to_string(i);
    if (o.bottleneck)
      blocks_.push_back(&child<Bottleneck>(name, options, init));
    else
      blocks_.push_back(&child<BasicBlock>(name, options, init));
  }
}

Var BlockStage::forward(const Var& x) const {
  const nn::ModuleScope scope(*this, "stage", x.device());
  Var y = x;
  for (const Block* block : blocks_) y = block->forward(y);
  return y;
}

}  // namespace segrt::models
