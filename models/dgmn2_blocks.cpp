#include "models/dgmn2_blocks.h"

#include <cmath>

#include "autograd/elementwise.h"

namespace segrt::models {
namespace {
constexpr int kTaps = 9;
constexpr double kLinearStd = 0.02, kNormEps = 1e-6;

nn::Linear::Options linear(int in, int out) { return {.in = in, .out = out, .weight_std = kLinearStd}; }
}  // namespace

Dgmn2Positions::Dgmn2Positions(const Options& o, nn::Init& init)
    : rel_height_(
          parameter("rel_height", init.normal({o.grid + kTaps - 1, kDgmn2HeadWidth}, 1 / std::sqrt(kDgmn2HeadWidth)))),
      rel_width_(
          parameter("rel_width", init.normal({o.grid + kTaps - 1, kDgmn2HeadWidth}, 1 / std::sqrt(kDgmn2HeadWidth)))) {}

Dgmn2Attention::Dgmn2Attention(const Options& o, nn::Init& init)
    : options_(o),
      qkv_(child<nn::Linear>("qkv", linear(o.channels, 3 * o.channels), init)),
      proj_(child<nn::Linear>("proj", linear(o.channels, o.channels), init)),
      conv_offset_(child<nn::Linear>("conv_offset", linear(kDgmn2HeadWidth, 2 * kTaps), init)),
      positions_(child<Dgmn2Positions>("pos_emb", {.grid = o.grid}, init)) {}

// What the operator stands for, in multiply-adds: the products of queries with sampled keys and of weights with sampled
// values; the queries times all rows of both tables, of which it needs nine each; four products a sampled number.
void Dgmn2Attention::report(const Tensor& y) const {
  const auto& see = y.device().observer;
  if (!see) return;
  const int64_t numbers = y.numel();
  see({"attention", y, 0, 2 * kTaps * numbers});
  see({"position", y, 0, (y.dim(1) + y.dim(2) + 2 * (kTaps - 1)) * numbers});
  see({"sampling", y, 0, 2 * 4 * kTaps * numbers});
}

Var Dgmn2Attention::forward(const Var& x) const {
  const nn::ModuleScope scope(*this, "attention", x.device());
  const int64_t batch = x.dim(0), height = x.dim(1), width = x.dim(2), heads = options_.heads;
  const Var qkv = qkv_.forward(x);  // [N,H,W,3C]
  // The offsets come from what the queries come from, split by heads, through one matrix that the heads share.
  const Var by_head = autograd::reshape(x, {batch, height, width * heads, kDgmn2HeadWidth});
  const Var offset = autograd::reshape(conv_offset_.forward(by_head), {batch, height, width, heads * 2 * kTaps});
  const Var y = autograd::deform_attention(qkv, offset, positions_.height(static_cast<int>(height)),
                                           positions_.width(static_cast<int>(width)), options_.heads);
  report(y.value());
  return proj_.forward(y);
}

Dgmn2Mlp::Dgmn2Mlp(const Options& o, nn::Init& init)
    : fc1_(child<nn::Linear>("fc1", linear(o.channels, o.hidden), init)),
      fc2_(child<nn::Linear>("fc2", linear(o.hidden, o.channels), init)) {}

Dgmn2Block::Dgmn2Block(const Options& o, nn::Init& init)
    : seed_(init.seed()),
      layer_(o.layer),
      norm1_(child<nn::LayerNorm>("norm1", {.channels = o.stage.channels, .eps = kNormEps}, init)),
      attn_(child<Dgmn2Attention>("attn", o.stage, init)),
      norm2_(child<nn::LayerNorm>("norm2", {.channels = o.stage.channels, .eps = kNormEps}, init)),
      mlp_(child<Dgmn2Mlp>("mlp", {.channels = o.stage.channels, .hidden = o.stage.mlp_ratio * o.stage.channels},
                           init)) {}

Var Dgmn2Block::forward(const Var& x, double drop_path, const Tensor& step, Var* attended) const {
  const auto kept = [&](const Var& branch, uint64_t number) {
    return training() ? autograd::drop_path(branch, drop_path, seed_, 2 * layer_ + number, step, sample_share())
                      : branch;
  };
  const Var attention = attn_.forward(norm1_.forward(x));
  if (attended != nullptr) *attended = attention;
  const auto [sum, norm] = norm2_.forward(x, kept(attention, 0));
  return autograd::add(sum, kept(mlp_.forward(norm), 1));
}

Dgmn2PatchEmbed::Dgmn2PatchEmbed(const Options& o, nn::Init& init) {
  for (const Layer& l : o.layers) {
    const std::string number = o.layers.size() > 1 ? std::to_string(layers_.size() + 1) : "";
    nn::Conv2d& conv = child<nn::Conv2d>(
        "conv" + number,
        {.in = l.in, .out = l.out, .stride = l.stride, .padding = 1, .weight_init = nn::Conv2d::WeightInit::uniform},
        init);
    layers_.push_back({&conv, &child<nn::BatchNorm>("norm" + number, {.channels = l.out}, init)});
  }
}

Var Dgmn2PatchEmbed::forward(const Var& x) const {
  Var y = x;
  for (const Unit& u : layers_) y = nn::conv_bn(*u.conv, *u.norm, y, nn::Act::relu);
  return y;
}

}  // namespace segrt::models
