#include "models/dabnet_blocks.h"

#include "autograd/channel_gate.h"
#include "autograd/elementwise.h"
#include "autograd/patches.h"
#include "autograd/pool.h"

namespace segrt::models {
using nn::Act;

CrossScaleBlock::CrossScaleBlock(const Options& o, nn::Init& init) : options_(o) {
  const auto conv = [&](const char* name, int in, int out, int kernel) {
    return &child<nn::Conv2d>(name,
                              {.in = in,
                               .out = out,
                               .kernel = kernel,
                               .padding = (kernel - 1) / 2,
                               .bias = true,
                               .bias_init = nn::Conv2d::BiasInit::uniform,
                               .weight_init = nn::Conv2d::WeightInit::uniform},
                              init);
  };
  const auto norm = [&](const char* name, int channels) {
    return &child<nn::BatchNorm>(name, {.channels = channels}, init);
  };
  const int c = o.channels, l = o.inner;
  h2l_0_ = conv("h2l_0", o.content == PatchContent::means ? c : c * o.patch * o.patch, l, 3);
  h2h_0_ = conv("h2h_0", c, l, 3);
  bnl_0_ = norm("bnl_0", l);
  bnh_0_ = norm("bnh_0", l);
  if (o.content == PatchContent::all_and_means) {
    l2l_p1_ = conv("l2l_p1", l, l, 1);
    l2l_p2_ = conv("l2l_p2", c, l, 1);
    l2l_bn_ = norm("l2l_bn", l);
  }
  h2h_1_ = conv("h2h_1", l, l, 3);
  h2l_1_ = conv("h2l_1", l, l, 3);
  l2h_1_ = conv("l2h_1", l, l, 3);
  l2l_1_ = conv("l2l_1", l, l, 3);
  bnl_1_ = norm("bnl_1", l);
  bnh_1_ = norm("bnh_1", l);
  h2h_2_ = conv("h2h_2", l, c, 3);
  l2h_2_ = conv("l2h_2", l, c, 3);
  bnh_2_ = norm("bnh_2", c);
}

// The mean of every patch.
Var CrossScaleBlock::shrunk(const Var& x) const {
  const int p = options_.patch;
  return p == 1 ? x : autograd::avg_pool2d(x, kernels::PoolGeometry::square({.kernel = p, .stride = p}));
}

Var CrossScaleBlock::grown(const Var& x, const Var& like) const {
  if (options_.patch == 1) return x;
  return autograd::resize(x, static_cast<int>(like.dim(1)), static_cast<int>(like.dim(2)),
                          {.mode = kernels::ResizeMode::bilinear});
}

Var CrossScaleBlock::small_copy(const Var& x) const {  // [N,H,W,C] -> [N,h,w,L]
  const autograd::Patches patches = cut(x);
  return with_means(nn::conv_bn(*h2l_0_, *bnl_0_, patches.all, Act::relu), patches.means);
}

// What h2l_0 reads, and the means where they go a way of their own.
autograd::Patches CrossScaleBlock::cut(const Var& x) const {
  switch (options_.content) {
    case PatchContent::means: return {shrunk(x), {}};
    case PatchContent::all: return {autograd::space_to_depth(x, options_.patch), {}};
    case PatchContent::all_and_means: break;
  }
  return autograd::split_patches(x, options_.patch);
}

Var CrossScaleBlock::with_means(const Var& values, const Var& means) const {
  return means.defined() ? nn::conv_pair_bn(*l2l_p1_, values, *l2l_p2_, means, *l2l_bn_, Act::relu) : values;
}

// Over several processes: norms at both resolutions share their messages.
Var CrossScaleBlock::forward_together(const Var& x) const {
  const autograd::Patches patches = cut(x);
  const std::vector<Var> first =
      nn::norms_together({{h2h_0_, *bnh_0_, x, Act::relu}, {h2l_0_, *bnl_0_, patches.all, Act::relu}});
  const Var& high = first[0];
  const Var low = with_means(first[1], patches.means);
  const std::vector<Var> second =
      nn::norms_together({{nullptr, *bnh_1_, l2h_1_->forward(grown(low, x), h2h_1_->forward(high)), Act::relu},
                          {nullptr, *bnl_1_, h2l_1_->forward(shrunk(high), l2l_1_->forward(low)), Act::relu}});
  const Var y = nn::conv_pair_bn(*h2h_2_, second[0], *l2h_2_, grown(second[1], x), *bnh_2_, Act::relu);
  return autograd::add(y, x);
}

Var CrossScaleBlock::forward(const Var& x) const {  // [N,H,W,C]
  if (nn::shares_messages(*bnh_0_)) return forward_together(x);
  const Var high = nn::conv_bn(*h2h_0_, *bnh_0_, x, Act::relu);  // [N,H,W,L]
  const Var low = small_copy(x);                                 // [N,h,w,L]
  const Var high1 = nn::conv_pair_bn(*h2h_1_, high, *l2h_1_, grown(low, x), *bnh_1_, Act::relu);
  const Var low1 = nn::conv_pair_bn(*l2l_1_, low, *h2l_1_, shrunk(high), *bnl_1_, Act::relu);
  const Var y = nn::conv_pair_bn(*h2h_2_, high1, *l2h_2_, grown(low1, x), *bnh_2_, Act::relu);  // [N,H,W,C]
  return autograd::add(y, x);
}

AttentionRefinement::AttentionRefinement(const Options& o, nn::Init& init)
    : conv_(child<ConvBn>("conv_layer", {.in = o.in, .out = o.out}, init)),
      attention_(&child<nn::Sequence>("atten_conv_layer")
                      .child<ConvBn>("1", {.in = o.out, .out = o.out, .kernel = 1, .act = Act::none}, init)) {}

Var AttentionRefinement::forward(const Var& x) const {
  const Var y = conv_.forward(x);
  return attend(y, attention_->forward(autograd::global_avg_pool(y)));
}

nn::NormPart AttentionRefinement::attention_part(const Var& y) const {
  return attention_->norm_part(autograd::global_avg_pool(y));
}

Var AttentionRefinement::attend(const Var& y, const Var& attention) const {
  return autograd::channel_gate(y, autograd::sigmoid(attention));
}

FeatureFusion::FeatureFusion(const Options& o, nn::Init& init)
    : conv_(child<ConvBn>("conv1", {.in = o.channels, .out = o.channels, .kernel = 1}, init)),
      attention_(&child<nn::Sequence>("conv_atten")
                      .child<ConvBn>("0", {.in = o.channels, .out = o.channels, .kernel = 1}, init)) {}

Var FeatureFusion::forward(const Var& joined) const {
  const Var z = conv_.forward(joined);
  const Var g = autograd::sigmoid(attention_->forward(autograd::global_avg_pool(z)));  // at least 1/2: ReLU before
  return autograd::channel_gate(z, g, /*residual=*/true);
}

}  // namespace segrt::models
