// What stands behind DGMN2's backbone: Semantic FPN (Kirillov et al. 2019, arXiv:1901.02446) and the three heads of
// SETR (Zheng et al. 2021, arXiv:2012.15840). Names and geometry are those of OpenMMLab's; all resizing is bilinear
// with aligned corners unless said otherwise. Convolutions start as the constructors leave them: OpenMMLab's own pass
// over the weights is never made for these networks.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "models/dgmn2_backbone.h"
#include "models/fcn_head.h"

namespace segrt::models {

// Child "decode_head" of a network; its classifier is conv_seg, 1x1 with bias.
class Dgmn2Head : public nn::Module {
 public:
  using Tap = Dgmn2Backbone::Tap;
  // Scores at the last resolution but one: what follows is one resizing, to the image. height, width: of the image.
  virtual Var forward(const Dgmn2Backbone::Maps& maps, int height, int width, const Tap& tap) const = 0;

 protected:
  nn::Conv2d& classifier(int in, int classes, nn::Init& init);
};

// Top-down sums of 1x1 convolutions (nearest), then 3x3: four maps of 256 channels.
class Dgmn2FpnNeck final : public nn::Module {
 public:
  explicit Dgmn2FpnNeck(nn::Init& init);
  Dgmn2Backbone::Maps forward(const Dgmn2Backbone::Maps& maps) const;

 private:
  std::array<nn::Conv2d*, 4> lateral_, fpn_;
};

class Dgmn2FpnHead final : public Dgmn2Head {
 public:
  struct Options {
    int classes;
    double dropout = 0.1;  // of whole channels, before the classifier
  };
  Dgmn2FpnHead(const Options& o, nn::Init& init);
  Var forward(const Dgmn2Backbone::Maps& maps, int height, int width, const Tap& tap) const override;

 private:
  Var branch(size_t b, const Var& map) const;
  Dgmn2Backbone::Maps branches_together(const Dgmn2Backbone::Maps& maps) const;

  double dropout_;
  uint64_t seed_;
  nn::Conv2d& conv_seg_;
  std::array<std::vector<ConvBn*>, 4> branches_;  // after each unit of the last three follows a resizing by 2
};

// A constant side of the scores, whatever the image: the crop that the networks were made for.
struct SetrOptions {
  int classes;
  int image_size = 769;
};

class SetrNaiveHead final : public Dgmn2Head {
 public:
  using Options = SetrOptions;
  SetrNaiveHead(const Options& o, nn::Init& init);
  Var forward(const Dgmn2Backbone::Maps& maps, int height, int width, const Tap& tap) const override;

 private:
  int image_size_;
  nn::Conv2d& conv_seg_;
};

// Progressive upsampling: four times to twice the width, into squares.
class SetrPupHead final : public Dgmn2Head {
 public:
  using Options = SetrOptions;
  SetrPupHead(const Options& o, nn::Init& init);
  Var forward(const Dgmn2Backbone::Maps& maps, int height, int width, const Tap& tap) const override;

 private:
  nn::Conv2d& conv_seg_;
  std::array<nn::Conv2d*, 3> convs_;
  std::array<nn::BatchNorm*, 3> norms_;
};

// Multi-level aggregation: every stage's map through two convolutions, all brought to one square and concatenated.
class SetrMlaHead final : public Dgmn2Head {
 public:
  using Options = SetrOptions;
  SetrMlaHead(const Options& o, nn::Init& init);
  Var forward(const Dgmn2Backbone::Maps& maps, int height, int width, const Tap& tap) const override;

 private:
  struct Branch {
    std::array<nn::Conv2d*, 2> convs;
    std::array<nn::BatchNorm*, 2> norms;
  };
  int image_size_;
  nn::Conv2d& conv_seg_;
  std::array<Branch, 4> branches_;
};

}  // namespace segrt::models
