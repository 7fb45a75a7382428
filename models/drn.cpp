// DRN: "Dilated Residual Networks", Yu, Koltun & Funkhouser 2017 (arXiv:1705.09914); weights: github.com/fyu/drn.
// Output stride 8. State names are the published ones: a classifier's layers are named, a segmentation network's are
// numbered in `base`.
#include "models/drn.h"

#include <algorithm>
#include <array>
#include <utility>

#include "models/drn_blocks.h"

namespace segrt::models {
namespace {
using nn::Act;

enum class Family : char { A = 'A', C = 'C', D = 'D' };
struct Variant {
  const char* name;
  Family family;
  bool bottleneck;
  std::array<int, 8> blocks;  // per stage; family A has four
};
constexpr Variant kVariants[] = {
    {"drn_a_18", Family::A, false, {2, 2, 2, 2}},
    {"drn_a_34", Family::A, false, {3, 4, 6, 3}},
    {"drn_a_50", Family::A, true, {3, 4, 6, 3}},
    {"drn_c_26", Family::C, false, {1, 1, 2, 2, 2, 2, 1, 1}},
    {"drn_c_42", Family::C, false, {1, 1, 3, 4, 6, 3, 1, 1}},
    {"drn_c_58", Family::C, true, {1, 1, 3, 4, 6, 3, 1, 1}},
    {"drn_d_22", Family::D, false, {1, 1, 2, 2, 2, 2, 1, 1}},
    {"drn_d_24", Family::D, false, {1, 1, 2, 2, 2, 2, 2, 2}},
    {"drn_d_38", Family::D, false, {1, 1, 3, 4, 6, 3, 1, 1}},
    {"drn_d_40", Family::D, false, {1, 1, 3, 4, 6, 3, 2, 2}},
    {"drn_d_54", Family::D, true, {1, 1, 3, 4, 6, 3, 1, 1}},
    {"drn_d_56", Family::D, true, {1, 1, 3, 4, 6, 3, 2, 2}},
    {"drn_d_105", Family::D, true, {1, 1, 3, 4, 23, 3, 1, 1}},
    {"drn_d_107", Family::D, true, {1, 1, 3, 4, 23, 3, 2, 2}},
};
// Stages of families C and D, of which D's 1, 2, 7, 8 are plain convolutions and C's 7, 8 have no shortcut; then those
// of A.
struct StageShape {
  int planes, stride, dilation;
};
constexpr StageShape kStages[] = {{16, 1, 1},  {32, 2, 1},  {64, 2, 1},  {128, 2, 1},
                                  {256, 1, 2}, {512, 1, 4}, {512, 1, 2}, {512, 1, 1}};
constexpr StageShape kStagesA[] = {{64, 1, 1}, {128, 2, 1}, {256, 1, 2}, {512, 1, 4}};

const Variant& variant_of(const std::string& name) {
  return *std::find_if(std::begin(kVariants), std::end(kVariants), [&](const Variant& v) { return v.name == name; });
}

// What both networks share: stem and stages as children of `parent`, named for a classifier or numbered for `base`.
class Trunk {
 public:
  Trunk(const Variant& v, nn::Module& parent, bool numbered, nn::Init& init) : family_(v.family) {
    const bool a = v.family == Family::A;
    const auto key = [&](const std::string& name, int number) { return numbered ? std::to_string(number) : name; };
    int width = a ? 64 : 16;
    int first_stage = a ? 4 : 3;  // its number in `base`: after conv, norm, ReLU (and pool)
    if (v.family == Family::D) {
      stem_stage_ = &parent.child<PlainStage>(
          key("layer0", 0), {.in = 3, .planes = 16, .convolutions = 1, .kernel = 7, .stride = 1, .dilation = 1}, init);
      first_stage = 1;
    } else {
      stem_conv_ = &parent.child<nn::Conv2d>(
          key("conv1", 0), {.in = 3, .out = width, .kernel = 7, .stride = a ? 2 : 1, .padding = 3}, init);
      stem_bn_ = &parent.child<nn::BatchNorm>(key("bn1", 1), {.channels = width}, init);
    }
    const int stages = a ? 4 : 8;
    for (int k = 0; k < stages; ++k) {
      const StageShape& s = a ? kStagesA[k] : kStages[k];
      const bool outer = !a && (k < 2 || k > 5);
      const std::string name = key("layer" + std::to_string(k + 1), first_stage + k);
      const int blocks = v.blocks[static_cast<size_t>(k)];
      if (outer && v.family == Family::D) {
        stages_.push_back(&parent.child<PlainStage>(
            name, {.in = width, .planes = s.planes, .convolutions = blocks, .stride = s.stride, .dilation = s.dilation},
            init));
      } else {
        // The first block of A's dilated stages is not dilated; in C and D it is.
        stages_.push_back(&parent.child<BlockStage>(name,
                                                    {.in = width,
                                                     .planes = s.planes,
                                                     .blocks = blocks,
                                                     .stride = s.stride,
                                                     .dilation = s.dilation,
                                                     .first_dilation = a ? 1 : s.dilation,
                                                     .bottleneck = v.bottleneck && !outer,
                                                     .residual = a || k < 6},
                                                    init));
      }
      width = stages_.back()->width();
    }
    width_ = width;
  }

  // image [N,H,W,3] -> [N,ceil(H/8),ceil(W/8),width]. tapped(name, map) is told of every stage.
  template <typename Tapped>
  Var forward(const Var& image, const Tapped& tapped) const {
    Var x =
        stem_stage_ != nullptr ? stem_stage_->forward(image) : nn::conv_bn(*stem_conv_, *stem_bn_, image, Act::relu);
    if (family_ == Family::A)  // the padding of this pool is minus infinity
      x = autograd::max_pool2d(x, kernels::PoolGeometry::square({.kernel = 3, .stride = 2, .padding = 1}));
    tapped("stem", x);
    for (size_t k = 0; k < stages_.size(); ++k) {
      x = stages_[k]->forward(x);
      tapped("layer" + std::to_string(k + 1), x);
    }
    return x;
  }
  int width() const { return width_; }

 private:
  Family family_;
  PlainStage* stem_stage_ = nullptr;  // D
  nn::Conv2d* stem_conv_ = nullptr;   // A, C
  nn::BatchNorm* stem_bn_ = nullptr;
  std::vector<Stage*> stages_;
  int width_ = 0;
};

class DrnClassifier final : public Model {
 public:
  DrnClassifier(const Variant& v, int classes, const Config& options, nn::Init& init)
      : Model(v.name, Task::classification, classes),
        family_(v.family),
        pool_size_(options.integer32("pool_size", {.fallback = 28, .min = 1})),
        out_map_(options.boolean("out_map", {.fallback = false})),
        trunk_(v, *this, /*numbered=*/false, init) {
    if (family_ == Family::A && out_map_) throw options.error("out_map", "false for family A", "true");
    if (family_ == Family::A)
      linear_ = &child<nn::Linear>("fc", {.in = trunk_.width(), .out = classes}, init);
    else
      conv_ = &child<nn::Conv2d>(
          "fc",
          {.in = trunk_.width(), .out = classes, .kernel = 1, .bias = true, .bias_init = nn::Conv2d::BiasInit::uniform},
          init);
  }

  std::vector<Head> forward(const Var& image) override {  // [N,H,W,3]
    const nn::ModuleScope scope(*this, "network", image.device());
    Var x = trunk_.forward(image, [this](std::string_view n, const Var& v) { tapped(n, v); });  // [N,H/8,W/8,width]
    if (out_map_) return {{.scores = conv_->forward(x), .up = {}}};                             // class activation maps
    if (x.dim(1) < pool_size_ || x.dim(2) < pool_size_)
      throw ArgumentError(name() + ": the classifier pools " + std::to_string(pool_size_) + "x" +
                          std::to_string(pool_size_) + " cells, the map is " + to_string(x.shape()) +
                          "; use a larger image or a smaller model.pool_size");
    const int stride = family_ == Family::A ? 1 : pool_size_;
    x = autograd::avg_pool2d(x, kernels::PoolGeometry::square({.kernel = pool_size_, .stride = stride}));
    tapped("avgpool", x);
    if (conv_ != nullptr) return {{.scores = conv_->forward(x), .up = {}}};
    if (x.dim(1) != 1 || x.dim(2) != 1)
      throw ArgumentError(name() + ": family A classifies maps of exactly " + std::to_string(pool_size_) + "x" +
                          std::to_string(pool_size_) + " cells");
    return {{.scores = linear_->forward(x), .up = {}}};
  }
  int class_map_stride() const override { return out_map_ ? 8 : 0; }

 private:
  Family family_;
  int pool_size_;
  bool out_map_;
  Trunk trunk_;
  nn::Conv2d* conv_ = nullptr;    // C, D
  nn::Linear* linear_ = nullptr;  // A
};

class DrnSegmentation final : public Model {
 public:
  DrnSegmentation(const Variant& v, int classes, const Config& options, nn::Init& init)
      : Model(v.name, Task::segmentation, classes),
        family_(v.family),
        use_torch_up_(options.boolean("use_torch_up", {.fallback = false})),
        trunk_(v, child<nn::Sequence>("base"), /*numbered=*/true, init),
        seg_(child<nn::Conv2d>("seg", {.in = trunk_.width(), .out = classes, .kernel = 1, .bias = true}, init)) {
    if (!use_torch_up_) up_ = &child<FixedUpsampling>("up", classes, init.device());
  }

  std::vector<Head> forward(const Var& image) override {  // [N,H,W,3]
    const nn::ModuleScope scope(*this, "network", image.device());
    const Var x =
        trunk_.forward(image, [this](std::string_view n, const Var& v) { tapped(n, v); });  // [N,H/8,W/8,width]
    const Var scores = seg_.forward(x);                                                     // [N,H/8,W/8,classes]
    tapped("seg", scores);
    nn::Upsampling up{.rule = nn::Upsampling::Rule::bilinear_align_corners,
                      .height = static_cast<int>(8 * scores.dim(1)),
                      .width = static_cast<int>(8 * scores.dim(2)),
                      .kernel = {}};
    if (up_ != nullptr) {
      up.rule = up_->is_standard() ? nn::Upsampling::Rule::transposed_x8 : nn::Upsampling::Rule::custom_transposed_x8;
      up.kernel = up_->kernel();
    }
    return {{.scores = scores, .up = up}};
  }

  int size_multiple() const override { return 8; }

  // A classifier's names: base.K -> layerK (D); conv1, bn1, then layer1... (A, C).
  std::string pretrained_name(const std::string& name) const override {
    if (!name.starts_with("base.")) return "";
    const size_t dot = name.find('.', 5);
    const int k = std::stoi(name.substr(5, dot - 5));
    const std::string rest = name.substr(dot);
    if (family_ == Family::D) return "layer" + std::to_string(k) + rest;
    if (k < 2) return (k == 0 ? "conv1" : "bn1") + rest;
    return "layer" + std::to_string(k - (family_ == Family::C ? 2 : 3)) + rest;
  }
  bool ignores_pretrained(const std::string& file_name) const override { return file_name.starts_with("fc."); }

 private:
  Family family_;
  bool use_torch_up_;
  Trunk trunk_;
  nn::Conv2d& seg_;
  FixedUpsampling* up_ = nullptr;
};
}  // namespace

std::vector<std::string> drn_names() {
  std::vector<std::string> names;
  for (const Variant& v : kVariants) names.emplace_back(v.name);
  return names;
}

std::unique_ptr<Model> build_drn(const std::string& name, Task task, int classes, const Config& options,
                                 nn::Init& init) {
  const Variant& v = variant_of(name);
  if (task == Task::classification) return std::make_unique<DrnClassifier>(v, classes, options, init);
  return std::make_unique<DrnSegmentation>(v, classes, options, init);
}

}  // namespace segrt::models
