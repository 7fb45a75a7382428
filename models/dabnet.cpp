#include "models/dabnet.h"

#include <algorithm>

#include "autograd/elementwise.h"
#include "autograd/pool.h"
#include "core/error.h"
#include "models/efficientnet.h"
#include "models/resnet.h"

namespace segrt::models {
namespace {
using TrunkKind = DabNet::TrunkKind;
using SpatialPath = DabNet::SpatialPath;

struct Variant {
  const char* name;
  TrunkKind trunk;
  int patch, cross_scale_blocks;
  PatchContent content;
  SpatialPath spatial;
};
constexpr TrunkKind kR = TrunkKind::resnet18, kE = TrunkKind::efficientnet_b1;
constexpr PatchContent kBoth = PatchContent::all_and_means;
constexpr Variant kVariants[] = {
    {"dabnet_r_p1", kR, 1, 4, kBoth, SpatialPath::dense},
    {"dabnet_r_p2", kR, 2, 4, kBoth, SpatialPath::dense},
    {"dabnet_r_p4", kR, 4, 4, kBoth, SpatialPath::dense},
    {"dabnet_r_p8", kR, 8, 4, kBoth, SpatialPath::dense},
    {"dabnet_r_p16", kR, 16, 4, kBoth, SpatialPath::dense},
    {"dabnet_e", kE, 2, 4, kBoth, SpatialPath::dense},
    // Ablations.
    {"dabnet_baseline", kR, 2, 0, kBoth, SpatialPath::image},
    {"dabnet_fcn", kR, 2, 0, kBoth, SpatialPath::none},
    {"dabnet_image", kR, 2, 0, kBoth, SpatialPath::dense},
    {"dabnet_pce", kR, 2, 4, kBoth, SpatialPath::none},
    {"dabnet_pce0", kR, 2, 1, kBoth, SpatialPath::dense},
    {"dabnet_pce01", kR, 2, 2, kBoth, SpatialPath::dense},
    {"dabnet_pce02", kR, 2, 3, kBoth, SpatialPath::dense},
    {"dabnet_channel", kR, 2, 4, PatchContent::all, SpatialPath::dense},
    {"dabnet_spatial", kR, 2, 4, PatchContent::means, SpatialPath::dense},
};

// What differs between the trunks beside their own channels.
struct Widths {
  std::array<int, 4> inner;    // of the cross-scale blocks
  std::array<int, 3> spatial;  // of the dense spatial path's layers
};
const Widths& widths_of(TrunkKind trunk) {
  static constexpr Widths kResNet{{32, 64, 64, 64}, {64, 64, 128}}, kEfficientNet{{24, 32, 32, 32}, {24, 64, 128}};
  return trunk == TrunkKind::resnet18 ? kResNet : kEfficientNet;
}

constexpr int kContext = 128, kFused = 256;
struct HeadShape {
  const char* label;  // in logs
  int in, channels;
  double loss_weight;
};
constexpr HeadShape kHeads[] = {{"decode", kFused, 256, 1}, {"aux_0", kContext, 64, 0.4}, {"aux_1", kContext, 64, 0.4}};

Var resize_nearest(const Var& x, const Var& like) {
  return autograd::resize(x, static_cast<int>(like.dim(1)), static_cast<int>(like.dim(2)),
                          {.mode = kernels::ResizeMode::nearest, .coordinates = kernels::Coordinates::asymmetric});
}
}  // namespace

DabNet::DabNet(const std::string& name, int classes, const Options& options, nn::Init& init)
    : Model(name, Task::segmentation, classes), options_(options) {
  nn::Module& backbone = child<nn::Sequence>("backbone");
  if (options_.trunk == TrunkKind::resnet18)
    trunk_ = &backbone.child<ResNet18>("backbone", init);
  else
    trunk_ = &backbone.child<EfficientNetB1>("backbone", {.drop_path = options_.drop_path}, init);
  ffm_ = &backbone.child<FeatureFusion>("ffm", {.channels = kFused}, init);
  arm16_ = &backbone.child<AttentionRefinement>("arm16", {.in = trunk_->channels()[3], .out = kContext}, init);
  arm32_ = &backbone.child<AttentionRefinement>("arm32", {.in = trunk_->channels()[4], .out = kContext}, init);
  conv_head32_ = &backbone.child<ConvBn>("conv_head32", {.in = kContext, .out = kContext}, init);
  conv_head16_ = &backbone.child<ConvBn>("conv_head16", {.in = kContext, .out = kContext}, init);
  make_spatial_path(backbone, init);
  make_cross_scale_blocks(backbone, init);
  if (options_.spatial == SpatialPath::dense) {
    const auto& widths = widths_of(options_.trunk).spatial;
    cp_1_ = &backbone.child<ConvBn>("cp_1", {.in = trunk_->channels()[1], .out = widths[0]}, init);
    cp_2_ = &backbone.child<ConvBn>("cp_2", {.in = trunk_->channels()[2], .out = widths[1]}, init);
  }

  nn::Module* auxiliary = nullptr;
  for (uint64_t k = 0; k < (options_.auxiliary ? 3 : 1); ++k) {
    const HeadShape& h = kHeads[k];
    if (k == 1) auxiliary = &child<nn::Sequence>("auxiliary_head");
    nn::Module& parent = k == 0 ? *this : *auxiliary;
    heads_.push_back(&parent.child<FcnHead>(
        k == 0 ? "decode_head" : std::to_string(k - 1),
        {.in = h.in, .channels = h.channels, .classes = classes, .dropout = options_.dropout, .layer = 0x68656164 + k},
        init));
  }
}

void DabNet::make_spatial_path(nn::Module& backbone, nn::Init& init) {
  std::vector<ConvBn::Options> layers;
  if (options_.spatial == SpatialPath::dense) {
    const auto& [s0, s1, s2] = widths_of(options_.trunk).spatial;
    layers = {{.in = 3 + trunk_->channels()[0], .out = s0, .stride = 2},
              {.in = s0, .out = s1, .stride = 2},
              {.in = s1, .out = s2, .kernel = 1}};
  } else if (options_.spatial == SpatialPath::image) {
    layers = {{.in = 3, .out = 64, .kernel = 7, .stride = 2},
              {.in = 64, .out = 64, .stride = 2},
              {.in = 64, .out = 64, .stride = 2},
              {.in = 64, .out = 128, .kernel = 1}};
  }
  for (const ConvBn::Options& o : layers)
    sp_.push_back(&backbone.child<ConvBn>("sp_" + std::to_string(sp_.size()), o, init));
}

void DabNet::make_cross_scale_blocks(nn::Module& backbone, nn::Init& init) {
  for (size_t k = 0; k < static_cast<size_t>(options_.cross_scale_blocks); ++k)
    blocks_.push_back(&backbone.child<CrossScaleBlock>("SIM_" + std::to_string(k),
                                                       {.channels = trunk_->channels()[k + 1],
                                                        .inner = widths_of(options_.trunk).inner[k],
                                                        .patch = options_.patch,
                                                        .content = options_.content},
                                                       init));
}

// The deepest map that is cut has 1/2^(blocks + 1) of the image's sides; the dense path halves the image by pooling.
int DabNet::size_multiple() const {
  if (options_.cross_scale_blocks > 0) return (2 << options_.cross_scale_blocks) * options_.patch;
  return options_.spatial == SpatialPath::dense ? 2 : 1;
}

void DabNet::require_image(const Var& image) const {
  const int multiple = size_multiple();
  if (image.shape().rank() != 4 || image.dim(1) % multiple != 0 || image.dim(2) % multiple != 0)
    throw ArgumentError(name() + ": image: expected [N,H,W,3] with sides that are multiples of " +
                        std::to_string(multiple) + ", got " + to_string(image.shape()));
  if (training() && image.dim(0) * (norms_over != nullptr ? norms_over->size() : 1) < 2)
    throw ArgumentError(name() + ": image: expected 2 images or more in training, got " + to_string(image.shape()) +
                        ": its attention has batch norms over one value a channel and image");
}

DabNet::Maps DabNet::run_trunk(const Var& image) const {
  const Trunk::Tap tell = [this](std::string_view map, const Var& value) {
    tapped("backbone.backbone." + std::string(map), value);
  };
  std::array<Var, 5> maps;
  maps[0] = trunk_->stem(image, tell);
  for (size_t n = 1; n < 5; ++n) {
    maps[n] = trunk_->stage(static_cast<int>(n), maps[n - 1], tell);
    if (n <= blocks_.size()) maps[n] = seen("SIM_" + std::to_string(n - 1), blocks_[n - 1]->forward(maps[n]));
  }
  return {maps[0], maps[1], maps[2], maps[3], maps[4]};
}

// What its last layer reads; the path's result where there is no layer.
Var DabNet::spatial_path(const Var& image, const Maps& maps) const {
  if (options_.spatial == SpatialPath::none) return maps.x8;
  Var s = image;
  if (options_.spatial == SpatialPath::dense) {
    const Var half = autograd::avg_pool2d(image, kernels::PoolGeometry::square({.kernel = 2, .stride = 2}));
    s = autograd::concat_channels({half, maps.x2});  // [N,H/2,W/2,3+C]
  }
  for (size_t k = 0; k + 1 < sp_.size(); ++k) {  // dense: to 1/4, 1/8
    s = seen("sp_" + std::to_string(k), sp_[k]->forward(s));
    if (options_.spatial != SpatialPath::dense) continue;
    s = autograd::add(s, k == 0 ? seen("cp_1", cp_1_->forward(maps.x4)) : seen("cp_2", cp_2_->forward(maps.x8)));
  }
  return s;
}

// The last layers of both paths, side by side: [N,H/8,W/8,256]. `apart`: somebody else sees their maps too.
Var DabNet::joined_paths(const Var& spatial, const Var& context, bool apart, Features& f) const {
  if (!apart && !sp_.empty()) return nn::concat_conv_bn({sp_.back()->part(spatial), conv_head16_->part(context)});
  Var last = spatial;
  if (!sp_.empty()) last = seen("sp_" + std::to_string(sp_.size() - 1), sp_.back()->forward(spatial));
  f.context8 = seen("conv_head16", conv_head16_->forward(context));
  return autograd::concat_channels({last, f.context8});
}

// Over several processes: layers of the paths that do not depend on one another share the messages of their norms.
DabNet::Features DabNet::features_together(const Var& image) const {
  const Maps maps = run_trunk(image);
  const Var half = autograd::avg_pool2d(image, kernels::PoolGeometry::square({.kernel = 2, .stride = 2}));
  const std::vector<Var> first = nn::norms_together({arm32_->first_part(maps.x32), arm16_->first_part(maps.x16),
                                                     sp_[0]->norm_part(autograd::concat_channels({half, maps.x2})),
                                                     cp_1_->norm_part(maps.x4), cp_2_->norm_part(maps.x8)});
  const std::vector<Var> second =
      nn::norms_together({arm32_->attention_part(first[0]), arm16_->attention_part(first[1]),
                          sp_[1]->norm_part(autograd::add(first[2], first[3]))});
  const Var attended32 = arm32_->attend(first[0], second[0]), attended16 = arm16_->attend(first[1], second[1]);
  const std::vector<Var> third = nn::norms_together({conv_head32_->norm_part(resize_nearest(attended32, maps.x16)),
                                                     sp_[2]->norm_part(autograd::add(second[2], first[4]))});
  Features f;
  f.context16 = third[0];
  f.context8 = conv_head16_->forward(resize_nearest(autograd::add(attended16, f.context16), maps.x8));
  f.fused = ffm_->forward(autograd::concat_channels({third[1], f.context8}));
  return f;
}

DabNet::Features DabNet::features(const Var& image, bool auxiliary) const {
  if (auxiliary && !tap && options_.spatial == SpatialPath::dense && nn::shares_messages(conv_head32_->norm()))
    return features_together(image);
  const Maps maps = run_trunk(image);
  const Var spatial = spatial_path(image, maps);
  Features f;
  const Var attended32 = seen("arm32", arm32_->forward(maps.x32));  // [N,H/32,W/32,128]
  f.context16 = seen("conv_head32", conv_head32_->forward(resize_nearest(attended32, maps.x16)));
  const Var attended16 = seen("arm16", arm16_->forward(maps.x16));  // [N,H/16,W/16,128]
  const Var context = resize_nearest(autograd::add(attended16, f.context16), maps.x8);
  const bool apart = auxiliary || tap;
  f.fused = seen("ffm", ffm_->forward(joined_paths(spatial, context, apart, f)));
  return f;
}

std::vector<Head> DabNet::forward(const Var& image, bool auxiliary) {  // [N,H,W,3]
  const nn::ModuleScope scope(*this, "network", image.device());
  require_image(image);
  const Features f = features(image, auxiliary);
  const Var* inputs[] = {&f.fused, &f.context8, &f.context16};
  const nn::Upsampling up{.rule = nn::Upsampling::Rule::bilinear_half_pixel,
                          .height = static_cast<int>(image.dim(1)),
                          .width = static_cast<int>(image.dim(2)),
                          .kernel = {}};
  const size_t count = auxiliary ? heads_.size() : 1;
  std::vector<Var> convolved;  // in one message, where norms share them
  if (nn::shares_messages(heads_.front()->conv().norm())) {
    std::vector<nn::NormPart> parts;
    for (size_t k = 0; k < count; ++k) parts.push_back(heads_[k]->conv().norm_part(*inputs[k]));
    convolved = nn::norms_together(parts);
  }
  std::vector<Head> heads;
  for (size_t k = 0; k < count; ++k) {
    heads.push_back({.scores = convolved.empty() ? heads_[k]->forward(*inputs[k]) : heads_[k]->classify(convolved[k]),
                     .up = up,
                     .loss_weight = kHeads[k].loss_weight,
                     .name = kHeads[k].label,
                     .count_ignored = true});
    tapped(kHeads[k].label, heads.back().scores);
  }
  return heads;
}

std::optional<Preprocessing> DabNet::preprocessing() const {
  return Preprocessing{.bgr = false, .unit = 1, .mean = {123.675, 116.28, 103.53}, .std = {58.395, 57.12, 57.375}};
}

std::string DabNet::pretrained_name(const std::string& name) const {
  constexpr std::string_view kPrefix = "backbone.backbone.";
  return name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : "";
}

std::vector<std::string> dabnet_names() {
  std::vector<std::string> names;
  for (const Variant& v : kVariants) names.emplace_back(v.name);
  return names;
}

std::unique_ptr<Model> build_dabnet(const std::string& name, Task task, int classes, const Config& options,
                                    nn::Init& init) {
  const Variant& v = *std::find_if(std::begin(kVariants), std::end(kVariants),
                                   [&](const Variant& variant) { return variant.name == name; });
  if (task != Task::segmentation)
    throw options.error("task", "segmentation, which is all " + name + " does", "classification");
  DabNet::Options o{.trunk = v.trunk,
                    .patch = v.patch,
                    .cross_scale_blocks = v.cross_scale_blocks,
                    .content = v.content,
                    .spatial = v.spatial};
  if (v.cross_scale_blocks > 0) o.patch = options.integer32("patch", {.fallback = v.patch, .min = 1, .max = 64});
  o.dropout = options.number("dropout", {.fallback = 0.1, .min = 0, .below = 1});
  if (v.trunk == TrunkKind::efficientnet_b1)
    o.drop_path = options.number("drop_path", {.fallback = 0, .min = 0, .below = 1});
  o.auxiliary = options.boolean("auxiliary", {.fallback = true});
  return std::make_unique<DabNet>(name, classes, o, init);
}

}  // namespace segrt::models
