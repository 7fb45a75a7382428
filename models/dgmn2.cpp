#include "models/dgmn2.h"

#include <algorithm>

#include "autograd/elementwise.h"
#include "autograd/pool.h"
#include "core/error.h"
#include "models/dgmn2_backbone.h"
#include "models/dgmn2_heads.h"

namespace segrt::models {
namespace {
struct Size {
  const char* name;
  std::array<int, 4> blocks;
};
constexpr Size kSizes[] = {{"dgmn2_tiny", {2, 2, 2, 2}},
                           {"dgmn2_small", {3, 4, 6, 3}},
                           {"dgmn2_medium", {3, 4, 18, 3}},
                           {"dgmn2_large", {3, 8, 27, 3}}};
enum class HeadKind : uint8_t { fpn, setr_naive, setr_pup, setr_mla };
struct HeadName {
  const char* suffix;
  HeadKind kind;
};
constexpr HeadName kHeads[] = {{"_fpn", HeadKind::fpn},
                               {"_setr_naive", HeadKind::setr_naive},
                               {"_setr_pup", HeadKind::setr_pup},
                               {"_setr_mla", HeadKind::setr_mla}};
constexpr int kClassifierSide = 224;  // of its images: its position tables are not resampled

// When blocks drop their branches.
struct DropPath {
  double rate = 0, after = 0;
};

// Both kinds of network: the schedule of drop path.
class Dgmn2 : public Model {
 public:
  Dgmn2(std::string name, Task task, int classes, const DropPath& drop)
      : Model(std::move(name), task, classes), drop_(drop), drops_(drop.after == 0) {}

  void begin_step(int64_t step, int64_t total_steps) override {
    if (total_steps > 0) drops_ = static_cast<double>(step) >= drop_.after * static_cast<double>(total_steps);
  }
  // Once branches drop, nothing changes any more.
  bool follows_step() const override { return drop_.rate > 0 && !drops_; }

 protected:
  bool drops() const { return training() && drops_; }
  Dgmn2Backbone::Tap named_tap(const std::string& prefix) const {
    if (!tap) return nullptr;
    return [this, prefix](const std::string& map, const Var& value) { tapped(prefix + map, value); };
  }

 private:
  DropPath drop_;
  bool drops_;
};

class Dgmn2Classifier final : public Dgmn2 {
 public:
  Dgmn2Classifier(const Size& size, int classes, const DropPath& drop, nn::Init& init)
      : Dgmn2(size.name, Task::classification, classes, drop),
        backbone_(*this, {.blocks = size.blocks, .drop_path = drop.rate}, init),
        head_(child<nn::Linear>("head", {.in = kDgmn2Channels[3], .out = classes, .weight_std = 0.02}, init)) {}

  std::vector<Head> forward(const Var& image) override {  // [N,224,224,3]
    const nn::ModuleScope scope(*this, "network", image.device());
    if (image.shape().rank() != 4 || image.dim(1) != kClassifierSide || image.dim(2) != kClassifierSide)
      throw ArgumentError(name() + ": image: expected [N,224,224,3], the size its position tables are made for, got " +
                          to_string(image.shape()));
    const Var x = backbone_.forward(image, drops(), named_tap(""))[3];  // [N,7,7,512]
    const Var pooled = autograd::global_avg_pool(x);                    // [N,1,1,512]
    tapped("pooled", pooled);
    return {{.scores = head_.forward(pooled), .up = {}}};
  }

 private:
  Dgmn2Backbone backbone_;
  nn::Linear& head_;
};

class Dgmn2Segmentation final : public Dgmn2 {
 public:
  struct Options {
    HeadKind head;
    DropPath drop;
    double dropout = 0.1;
    int image_size = 769;
  };
  Dgmn2Segmentation(const std::string& name, const Size& size, int classes, const Options& o, nn::Init& init)
      : Dgmn2(name, Task::segmentation, classes, o.drop),
        head_kind_(o.head),
        backbone_(child<nn::Sequence>("backbone"),
                  {.blocks = size.blocks, .late_stride = o.head == HeadKind::fpn ? 2 : 1, .drop_path = o.drop.rate},
                  init) {
    const SetrOptions setr{.classes = classes, .image_size = o.image_size};
    switch (o.head) {
      case HeadKind::fpn:
        neck_ = &child<Dgmn2FpnNeck>("neck", init);
        head_ = &child<Dgmn2FpnHead>("decode_head", {.classes = classes, .dropout = o.dropout}, init);
        break;
      case HeadKind::setr_naive: head_ = &child<SetrNaiveHead>("decode_head", setr, init); break;
      case HeadKind::setr_pup: head_ = &child<SetrPupHead>("decode_head", setr, init); break;
      case HeadKind::setr_mla: head_ = &child<SetrMlaHead>("decode_head", setr, init); break;
    }
  }

  std::vector<Head> forward(const Var& image) override {  // [N,H,W,3]
    const nn::ModuleScope scope(*this, "network", image.device());
    if (image.shape().rank() != 4 || image.value().numel() == 0)
      throw ArgumentError(name() + ": image: expected [N,H,W,3], got " + to_string(image.shape()));
    const int height = static_cast<int>(image.dim(1)), width = static_cast<int>(image.dim(2));
    Dgmn2Backbone::Maps maps = backbone_.forward(image, drops(), named_tap("backbone."));
    const bool last_alone = head_kind_ == HeadKind::setr_naive || head_kind_ == HeadKind::setr_pup;
    tap_all("backbone", maps, last_alone ? 3 : 0);
    if (neck_ != nullptr) {
      maps = neck_->forward(maps);
      tap_all("neck", maps, 0);
    }
    const Var scores = head_->forward(maps, height, width, named_tap("decode_head."));
    tapped("decode_head", scores);
    return {
        {.scores = scores,
         .up = {.rule = nn::Upsampling::Rule::bilinear_align_corners, .height = height, .width = width, .kernel = {}},
         .name = "decode",
         .count_ignored = true}};
  }

  std::optional<Preprocessing> preprocessing() const override {
    return Preprocessing{.bgr = false, .unit = 1, .mean = {123.675, 116.28, 103.53}, .std = {58.395, 57.12, 57.375}};
  }
  // From the ImageNet classifier: the backbone alone.
  std::string pretrained_name(const std::string& name) const override {
    constexpr std::string_view kPrefix = "backbone.";
    return name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : "";
  }
  bool ignores_pretrained(const std::string& file_name) const override { return file_name.starts_with("head."); }

 private:
  // "backbone.0", ... of the maps from `first` on: what the head is given.
  void tap_all(const std::string& part, const Dgmn2Backbone::Maps& maps, size_t first) const {
    for (size_t k = first; k < maps.size(); ++k) tapped(part + "." + std::to_string(k - first), maps[k]);
  }

  HeadKind head_kind_;
  Dgmn2Backbone backbone_;
  Dgmn2FpnNeck* neck_ = nullptr;
  Dgmn2Head* head_ = nullptr;
};

DropPath drop_path_of(const Config& options) {
  return {.rate = options.number("drop_path", {.fallback = 0, .min = 0, .below = 1}),
          .after = options.number("drop_path_after", {.fallback = 0, .min = 0, .below = 1})};
}
}  // namespace

std::vector<std::string> dgmn2_names() {
  std::vector<std::string> names;
  for (const Size& size : kSizes) {
    names.emplace_back(size.name);
    for (const HeadName& head : kHeads) names.push_back(std::string(size.name) + head.suffix);
  }
  return names;
}

std::unique_ptr<Model> build_dgmn2(const std::string& name, Task task, int classes, const Config& options,
                                   nn::Init& init) {
  const Size& size =
      *std::find_if(std::begin(kSizes), std::end(kSizes), [&](const Size& s) { return name.starts_with(s.name); });
  const std::string suffix = name.substr(std::string_view(size.name).size());
  if (suffix.empty()) {
    if (task != Task::classification)
      throw options.error("task", "classification, which is all " + name + " does (" + name + "_fpn segments)",
                          "segmentation");
    return std::make_unique<Dgmn2Classifier>(size, classes, drop_path_of(options), init);
  }
  if (task != Task::segmentation)
    throw options.error("task", "segmentation, which is all " + name + " does (" + size.name + " classifies)",
                        "classification");
  Dgmn2Segmentation::Options o{
      .head = std::find_if(std::begin(kHeads), std::end(kHeads), [&](const HeadName& h) { return suffix == h.suffix; })
                  ->kind,
      .drop = drop_path_of(options)};
  if (o.head == HeadKind::fpn) o.dropout = options.number("dropout", {.fallback = 0.1, .min = 0, .below = 1});
  if (o.head == HeadKind::setr_naive || o.head == HeadKind::setr_mla)
    o.image_size = options.integer32("image_size", {.fallback = 769, .min = 1, .max = 1 << 14});
  return std::make_unique<Dgmn2Segmentation>(name, size, classes, o, init);
}

}  // namespace segrt::models
