// The parts of DABNet: cross-scale blocks behind the trunk's stages, and the attention of BiSeNet (Yu et al. 2018,
// arXiv:1808.00897) that joins its paths. Names are the published ones.
#pragma once

#include "autograd/patches.h"
#include "models/fcn_head.h"
#include "nn/layers.h"

namespace segrt::models {

// What the small copy of a cross-scale block's map is made of: the values of its patches, their means, or both.
enum class PatchContent : uint8_t { all_and_means, all, means };

// "SIM": mixes a map with a copy of it whose sides are `patch` times smaller, [N,H,W,channels] -> the same shape. Its
// convolutions have biases; `inner` channels within.
class CrossScaleBlock final : public nn::Module {
 public:
  struct Options {
    int channels, inner, patch;
    PatchContent content = PatchContent::all_and_means;
  };
  CrossScaleBlock(const Options& o, nn::Init& init);
  Var forward(const Var& x) const;

 private:
  Var small_copy(const Var& x) const;
  autograd::Patches cut(const Var& x) const;
  Var with_means(const Var& values, const Var& means) const;
  Var forward_together(const Var& x) const;
  Var shrunk(const Var& x) const;
  Var grown(const Var& x, const Var& like) const;

  Options options_;
  // h: the map (high resolution), l: its small copy (low). h2l_0 reads the patches; the others go between the two.
  nn::Conv2d *h2l_0_, *h2h_0_;
  nn::BatchNorm *bnl_0_, *bnh_0_;
  nn::Conv2d *l2l_p1_ = nullptr, *l2l_p2_ = nullptr;  // with both contents only
  nn::BatchNorm* l2l_bn_ = nullptr;
  nn::Conv2d *h2h_1_, *h2l_1_, *l2h_1_, *l2l_1_;
  nn::BatchNorm *bnl_1_, *bnh_1_;
  nn::Conv2d *h2h_2_, *l2h_2_;
  nn::BatchNorm* bnh_2_;
};

// ARM: y sigmoid(bn(conv1x1(mean(y)))), y = relu(bn(conv3x3(x))).
class AttentionRefinement final : public nn::Module {
 public:
  struct Options {
    int in, out;
  };
  AttentionRefinement(const Options& o, nn::Init& init);
  Var forward(const Var& x) const;
  // The same in steps: y, what the attention's norm is of, and the product.
  nn::NormPart first_part(const Var& x) const { return conv_.norm_part(x); }
  nn::NormPart attention_part(const Var& y) const;
  Var attend(const Var& y, const Var& attention) const;

 private:
  ConvBn& conv_;
  ConvBn* attention_;
};

// FFM: z + z sigmoid(relu(bn(conv1x1(mean(z))))), z = relu(bn(conv1x1([spatial, context]))).
class FeatureFusion final : public nn::Module {
 public:
  struct Options {
    int channels;  // of both inputs together, and of the output
  };
  FeatureFusion(const Options& o, nn::Init& init);
  Var forward(const Var& joined) const;  // [spatial, context]

 private:
  ConvBn& conv_;
  ConvBn* attention_;
};

}  // namespace segrt::models
