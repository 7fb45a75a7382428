#include "models/dgmn2_heads.h"

#include <algorithm>

#include "autograd/channel_gate.h"
#include "autograd/elementwise.h"
#include "autograd/pool.h"

namespace segrt::models {
namespace {
constexpr int kNeck = 256, kFpn = 128, kPup = 256, kMla = 128;

// The framework's default: weight and bias uniform in +-1/sqrt(fan in).
nn::Conv2d::Options default_conv(int in, int out, int kernel, bool bias) {
  return {.in = in,
          .out = out,
          .kernel = kernel,
          .padding = kernel / 2,
          .bias = bias,
          .bias_init = nn::Conv2d::BiasInit::uniform,
          .weight_init = nn::Conv2d::WeightInit::uniform};
}

Var resized(const Var& x, int height, int width) {
  if (x.dim(1) == height && x.dim(2) == width) return x;
  return autograd::resize(x, height, width, {.coordinates = kernels::Coordinates::align_corners});
}
Var resized_to_square(const Var& x, int side) { return resized(x, side, side); }
Var resized_like(const Var& x, const Var& y) {
  return resized(x, static_cast<int>(y.dim(1)), static_cast<int>(y.dim(2)));
}
int width_of(const Var& x) { return static_cast<int>(x.dim(2)); }
Var doubled(const Var& x) { return resized(x, static_cast<int>(2 * x.dim(1)), 2 * width_of(x)); }

// To a square of side `size`, and by the caller to the image; where the two are the same, that is one resizing.
Var unless_last(const Var& scores, int size, int height, int width) {
  return size == height && size == width ? scores : resized_to_square(scores, size);
}
}  // namespace

nn::Conv2d& Dgmn2Head::classifier(int in, int classes, nn::Init& init) {
  return child<nn::Conv2d>("conv_seg", default_conv(in, classes, 1, true), init);
}

Dgmn2FpnNeck::Dgmn2FpnNeck(nn::Init& init) {
  const auto make = [&](nn::Module& list, size_t k, int in, int kernel) {
    return &list.child<nn::Sequence>(std::to_string(k))
                .child<nn::Conv2d>(
                    "conv", {.in = in, .out = kNeck, .kernel = kernel, .padding = kernel / 2, .bias = true}, init);
  };
  nn::Module& lateral = child<nn::Sequence>("lateral_convs");
  for (size_t k = 0; k < 4; ++k) lateral_[k] = make(lateral, k, kDgmn2Channels[k], 1);
  nn::Module& fpn = child<nn::Sequence>("fpn_convs");
  for (size_t k = 0; k < 4; ++k) fpn_[k] = make(fpn, k, kNeck, 3);
}

Dgmn2Backbone::Maps Dgmn2FpnNeck::forward(const Dgmn2Backbone::Maps& maps) const {
  const nn::ModuleScope scope(*this, "neck", maps[0].device());
  Dgmn2Backbone::Maps out;
  Var above;
  for (size_t k = 4; k-- > 0;) {
    Var down;  // the coarser sum at this map's size
    if (above.defined())
      down = autograd::resize(above, static_cast<int>(maps[k].dim(1)), width_of(maps[k]),
                              {.mode = kernels::ResizeMode::nearest, .coordinates = kernels::Coordinates::asymmetric});
    above = lateral_[k]->forward(maps[k], down);
    out[k] = fpn_[k]->forward(above);
  }
  return out;
}

Dgmn2FpnHead::Dgmn2FpnHead(const Options& o, nn::Init& init)
    : dropout_(o.dropout), seed_(init.seed()), conv_seg_(classifier(kFpn, o.classes, init)) {
  nn::Module& heads = child<nn::Sequence>("scale_heads");
  for (size_t b = 0; b < 4; ++b) {
    nn::Module& branch = heads.child<nn::Sequence>(std::to_string(b));
    for (size_t k = 0; k < std::max<size_t>(b, 1); ++k)  // resizings take the odd numbers
      branches_[b].push_back(
          &branch.child<ConvBn>(std::to_string(2 * k), {.in = k == 0 ? kNeck : kFpn, .out = kFpn}, init));
  }
}

// Over several processes: the layers of all branches side by side, whose norms share their messages.
Dgmn2Backbone::Maps Dgmn2FpnHead::branches_together(const Dgmn2Backbone::Maps& maps) const {
  Dgmn2Backbone::Maps x = maps;
  for (size_t k = 0;; ++k) {
    std::vector<nn::NormPart> parts;
    std::vector<size_t> of;
    for (size_t b = 0; b < 4; ++b)
      if (k < branches_[b].size()) {
        parts.push_back(branches_[b][k]->norm_part(x[b]));
        of.push_back(b);
      }
    if (parts.empty()) return x;
    const std::vector<Var> outputs = nn::norms_together(parts);
    for (size_t i = 0; i < of.size(); ++i) x[of[i]] = of[i] > 0 ? doubled(outputs[i]) : outputs[i];
  }
}

Var Dgmn2FpnHead::branch(size_t b, const Var& map) const {
  Var x = map;
  for (const ConvBn* unit : branches_[b]) {
    x = unit->forward(x);
    if (b > 0) x = doubled(x);
  }
  return x;
}

Var Dgmn2FpnHead::forward(const Dgmn2Backbone::Maps& maps, int, int, const Tap& tap) const {
  const bool together = nn::shares_messages(branches_[0][0]->norm());
  const Dgmn2Backbone::Maps computed = together ? branches_together(maps) : Dgmn2Backbone::Maps();
  Var sum;
  for (size_t b = 0; b < 4; ++b) {
    const Var x = together ? computed[b] : branch(b, maps[b]);
    if (tap) tap("scale_heads." + std::to_string(b), x);
    sum = b == 0 ? x : autograd::add(sum, resized_like(x, sum));
  }
  // The norm counts training passes on the device and in checkpoints: a resumed run draws what it would have drawn.
  const Tensor step = branches_[0][0]->norm().batches().reshape({1});
  if (training()) sum = autograd::channel_dropout(sum, dropout_, seed_, 0x66706e, step, sample_share());
  return conv_seg_.forward(sum);  // [N,H/4,W/4,classes]
}

SetrNaiveHead::SetrNaiveHead(const Options& o, nn::Init& init)
    : image_size_(o.image_size), conv_seg_(classifier(kDgmn2Channels[3], o.classes, init)) {}

Var SetrNaiveHead::forward(const Dgmn2Backbone::Maps& maps, int height, int width, const Tap&) const {
  return unless_last(conv_seg_.forward(maps[3]), image_size_, height, width);
}

SetrPupHead::SetrPupHead(const Options& o, nn::Init& init) : conv_seg_(classifier(kPup, o.classes, init)) {
  for (size_t k = 0; k < 3; ++k)
    convs_[k] = &child<nn::Conv2d>("conv_" + std::to_string(k),
                                   default_conv(k == 0 ? kDgmn2Channels[3] : kPup, kPup, 3, true), init);
  for (size_t k = 0; k < 3; ++k)
    norms_[k] = &child<nn::BatchNorm>("syncbn_fc_" + std::to_string(k), {.channels = kPup}, init);
}

Var SetrPupHead::forward(const Dgmn2Backbone::Maps& maps, int, int, const Tap& tap) const {
  Var x = maps[3];
  for (size_t k = 0; k < 3; ++k) {
    if (tap) {  // who listens wants to see the norm's map before its ReLU
      x = nn::conv_bn(*convs_[k], *norms_[k], x, nn::Act::none);
      tap("syncbn_fc_" + std::to_string(k), x);
      x = autograd::relu(x);
    } else {
      x = nn::conv_bn(*convs_[k], *norms_[k], x, nn::Act::relu);
    }
    x = resized_to_square(x, 2 * width_of(x));
  }
  const Var scores = conv_seg_.forward(x);
  return resized_to_square(scores, 2 * width_of(scores));  // 16 times the map: larger than the image
}

SetrMlaHead::SetrMlaHead(const Options& o, nn::Init& init)
    : image_size_(o.image_size), conv_seg_(classifier(4 * kMla, o.classes, init)) {
  nn::Module& heads = child<nn::Sequence>("mlahead");
  for (size_t b = 0; b < 4; ++b) {
    nn::Module& branch = heads.child<nn::Sequence>("head" + std::to_string(b + 2));
    for (size_t k = 0; k < 2; ++k) {  // a ReLU takes each third number
      branches_[b].convs[k] = &branch.child<nn::Conv2d>(
          std::to_string(3 * k), default_conv(k == 0 ? kDgmn2Channels[b] : kMla, kMla, 3, false), init);
      branches_[b].norms[k] = &branch.child<nn::BatchNorm>(std::to_string(3 * k + 1), {.channels = kMla}, init);
    }
  }
}

Var SetrMlaHead::forward(const Dgmn2Backbone::Maps& maps, int height, int width, const Tap& tap) const {
  Dgmn2Backbone::Maps computed = maps;
  const bool together = nn::shares_messages(*branches_[0].norms[0]);
  for (size_t k = 0; together && k < 2; ++k) {  // over several processes: norms share their messages
    std::vector<nn::NormPart> layer;
    for (size_t b = 0; b < 4; ++b)
      layer.push_back({branches_[b].convs[k], *branches_[b].norms[k], computed[b], nn::Act::relu});
    const std::vector<Var> outputs = nn::norms_together(layer);
    std::copy(outputs.begin(), outputs.end(), computed.begin());
  }
  std::vector<Var> parts;
  for (size_t b = 0; b < 4; ++b) {
    Var x = computed[b];
    for (size_t k = 0; !together && k < 2; ++k)
      x = nn::conv_bn(*branches_[b].convs[k], *branches_[b].norms[k], x, nn::Act::relu);
    if (tap) tap("mlahead.head" + std::to_string(b + 2), x);
    // The first map, at a stride of 4, follows the second one's width.
    parts.push_back(resized_to_square(x, 4 * width_of(maps[std::max<size_t>(b, 1)])));
  }
  return unless_last(conv_seg_.forward(autograd::concat_channels(parts)), image_size_, height, width);
}

}  // namespace segrt::models
