#include "models/efficientnet.h"

#include <cmath>

#include "autograd/channel_gate.h"
#include "autograd/elementwise.h"
#include "autograd/pool.h"

namespace segrt::models {
namespace {
using nn::Act;

struct Group {
  int blocks, kernel, stride, in, out, expand;
};
// Repeats are those of B0 times 1.1, rounded up; the width is B0's.
constexpr Group kGroups[] = {{2, 3, 1, 32, 16, 1},  {3, 3, 2, 16, 24, 6},   {3, 5, 2, 24, 40, 6},  {4, 3, 2, 40, 80, 6},
                             {4, 5, 1, 80, 112, 6}, {5, 5, 2, 112, 192, 6}, {2, 3, 1, 192, 320, 6}};
// The groups of stage n = 0 (with the stem) to 4: from kFirst[n] to kFirst[n + 1].
constexpr int kFirst[] = {0, 1, 2, 3, 5, 7};

nn::Conv2d::Options convolution(int in, int out, int kernel, int stride = 1, int groups = 1) {
  const double fan_out = static_cast<double>(kernel) * kernel * out / groups;
  return {.in = in,
          .out = out,
          .kernel = kernel,
          .stride = stride,
          .padding = (kernel - 1) / 2,
          .groups = groups,
          .weight_std = std::sqrt(2 / fan_out)};
}

nn::Conv2d::Options biased(nn::Conv2d::Options o) {
  o.bias = true;
  return o;
}
}  // namespace

SqueezeExcitation::SqueezeExcitation(const Options& o, nn::Init& init)
    : reduce_(child<nn::Conv2d>("conv_reduce", biased(convolution(o.channels, o.reduced, 1)), init)),
      expand_(child<nn::Conv2d>("conv_expand", biased(convolution(o.reduced, o.channels, 1)), init)) {}

Var SqueezeExcitation::forward(const Var& x) const {
  const Var squeezed = autograd::silu(reduce_.forward(autograd::global_avg_pool(x)));  // [N,1,1,reduced]
  return autograd::channel_gate(x, autograd::sigmoid(expand_.forward(squeezed)));
}

InvertedResidual::InvertedResidual(const Options& o, nn::Init& init) : options_(o), seed_(init.seed()) {
  const int wide = o.expand * o.in;
  const bool expands = o.expand != 1;
  int norm = 0;
  const auto next_norm = [&](int channels) {
    return &child<nn::BatchNorm>("bn" + std::to_string(++norm), {.channels = channels}, init);
  };
  if (expands) {
    expand_ = &child<nn::Conv2d>("conv_pw", convolution(o.in, wide, 1), init);
    expand_bn_ = next_norm(wide);
  }
  depthwise_ = &child<nn::Conv2d>("conv_dw", convolution(wide, wide, o.kernel, o.stride, wide), init);
  depthwise_bn_ = next_norm(wide);
  attention_ = &child<SqueezeExcitation>("se", {.channels = wide, .reduced = o.in / 4}, init);
  project_ = &child<nn::Conv2d>(expands ? "conv_pwl" : "conv_pw", convolution(wide, o.out, 1), init);
  project_bn_ = next_norm(o.out);
}

Var InvertedResidual::forward(const Var& x) const {                                   // [N,H,W,in]
  Var y = expand_ != nullptr ? nn::conv_bn(*expand_, *expand_bn_, x, Act::silu) : x;  // [N,H,W,wide]
  y = attention_->forward(nn::conv_bn(*depthwise_, *depthwise_bn_, y, Act::silu));    // [N,H/s,W/s,wide]
  const bool drops = training() && adds_input() && options_.drop_path > 0;
  if (!drops) return nn::conv_bn(*project_, *project_bn_, y, Act::none, adds_input() ? x : Var());
  y = nn::conv_bn(*project_, *project_bn_, y, Act::none);
  const Tensor step = project_bn_->batches().reshape({1});
  return autograd::add(autograd::drop_path(y, options_.drop_path, seed_, options_.layer, step, sample_share()), x);
}

EfficientNetB1::EfficientNetB1(const Options& o, nn::Init& init)
    : stem_(child<nn::Conv2d>("conv_stem", convolution(3, 32, 3, 2), init)),
      stem_bn_(child<nn::BatchNorm>("bn1", {.channels = 32}, init)) {
  int total = 0, number = 0;
  for (const Group& g : kGroups) total += g.blocks;
  nn::Module& blocks = child<nn::Sequence>("blocks");
  for (const Group& g : kGroups) {
    nn::Module& group = blocks.child<nn::Sequence>(std::to_string(groups_.size()));
    groups_.emplace_back();
    for (int k = 0; k < g.blocks; ++k, ++number)
      groups_.back().push_back(&group.child<InvertedResidual>(std::to_string(k),
                                                              {.in = k == 0 ? g.in : g.out,
                                                               .out = g.out,
                                                               .kernel = g.kernel,
                                                               .stride = k == 0 ? g.stride : 1,
                                                               .expand = g.expand,
                                                               .drop_path = o.drop_path * number / total,
                                                               .layer = 0x64726f7000 + static_cast<uint64_t>(number)},
                                                              init));
  }
}

Var EfficientNetB1::run_group(int group, Var x, const Tap& tap) const {
  for (const InvertedResidual* block : groups_[static_cast<size_t>(group)]) x = block->forward(x);
  tap("blocks." + std::to_string(group), x);
  return x;
}

Var EfficientNetB1::stem(const Var& image, const Tap& tap) const {
  const Var x = nn::conv_bn(stem_, stem_bn_, image, Act::silu);  // [N,H/2,W/2,32]
  tap("act1", x);
  return run_group(0, x, tap);
}

Var EfficientNetB1::stage(int n, const Var& x, const Tap& tap) const {
  Var y = x;
  for (int group = kFirst[n]; group < kFirst[n + 1]; ++group) y = run_group(group, y, tap);
  return y;
}

bool EfficientNetB1::ignores_pretrained(const std::string& file_name) const {
  return file_name.starts_with("conv_head.") || file_name.starts_with("bn2.") || file_name.starts_with("classifier.");
}

}  // namespace segrt::models
