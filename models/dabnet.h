// DABNet (Densely Aggregated Bilateral Network): a strided trunk carries context, with a cross-scale block behind each
// of its stages, and a light path at higher resolution is fed by the image and the trunk's early maps. State names are
// those of the published code.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/dabnet_blocks.h"
#include "models/model.h"
#include "models/trunk.h"

namespace segrt::models {

std::vector<std::string> dabnet_names();

// Options of the table: patch (side of the patches; default the variant's), dropout (of the heads, 0.1), auxiliary
// (true; false leaves out the heads that only training has), drop_path (0; of dabnet_e's trunk).
std::unique_ptr<Model> build_dabnet(const std::string& name, Task task, int classes, const Config& options,
                                    nn::Init& init);

class DabNet final : public Model {
 public:
  enum class TrunkKind : uint8_t { resnet18, efficientnet_b1 };
  // What meets the context path in the fusion: the dense spatial path; BiSeNet's, which sees the image alone; or no
  // path, the trunk's map at 1/8.
  enum class SpatialPath : uint8_t { dense, image, none };
  struct Options {
    TrunkKind trunk = TrunkKind::resnet18;
    int patch = 2;
    int cross_scale_blocks = 4;  // behind the first so many stages
    PatchContent content = PatchContent::all_and_means;
    SpatialPath spatial = SpatialPath::dense;
    double dropout = 0.1, drop_path = 0;
    bool auxiliary = true;
  };
  DabNet(const std::string& name, int classes, const Options& options, nn::Init& init);

  std::vector<Head> forward(const Var& image) override { return forward(image, training()); }
  // All heads, or that of the prediction alone.
  std::vector<Head> forward(const Var& image, bool auxiliary);
  // Maps are cut into patches without remainder.
  int size_multiple() const override;
  int pad_multiple() const override { return size_multiple(); }
  std::optional<Preprocessing> preprocessing() const override;  // ImageNet's, on whatever data
  // From an ImageNet classifier: the trunk alone.
  std::string pretrained_name(const std::string& name) const override;
  bool ignores_pretrained(const std::string& file_name) const override { return trunk_->ignores_pretrained(file_name); }

 private:
  // What the heads see: [N,H/8,W/8,256], [N,H/8,W/8,128] (undefined where only the fusion needs it),
  // [N,H/16,W/16,128].
  struct Features {
    Var fused, context8, context16;
  };
  // The trunk's maps at 1/2 to 1/32 of the image, the last four behind their cross-scale blocks.
  struct Maps {
    Var x2, x4, x8, x16, x32;
  };
  void make_spatial_path(nn::Module& backbone, nn::Init& init);
  void make_cross_scale_blocks(nn::Module& backbone, nn::Init& init);
  Maps run_trunk(const Var& image) const;
  Var spatial_path(const Var& image, const Maps& maps) const;
  Var joined_paths(const Var& spatial, const Var& context, bool apart, Features& f) const;
  Features features(const Var& image, bool auxiliary) const;
  Features features_together(const Var& image) const;
  void require_image(const Var& image) const;
  // `part` of the backbone, told to the tap.
  Var seen(const std::string& part, const Var& value) const {
    tapped("backbone." + part, value);
    return value;
  }

  Options options_;
  Trunk* trunk_;
  FeatureFusion* ffm_;
  AttentionRefinement *arm16_, *arm32_;
  ConvBn *conv_head32_, *conv_head16_;
  std::vector<ConvBn*> sp_;               // the spatial path: 3 layers, 4 of BiSeNet's, or none
  std::vector<CrossScaleBlock*> blocks_;  // "SIM_0", ...
  ConvBn *cp_1_ = nullptr, *cp_2_ = nullptr;
  std::vector<FcnHead*> heads_;
};

}  // namespace segrt::models
