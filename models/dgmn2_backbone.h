// DGMN2's backbone (Zhang et al. 2022): four stages, each a patch embedding and blocks of dynamic message passing.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "models/dgmn2_blocks.h"
#include "models/model.h"

namespace segrt::models {

inline constexpr std::array<int, 4> kDgmn2Channels{64, 128, 320, 512};

// Its parts are children of a module that is given: the network itself (the classifier) or its child "backbone".
class Dgmn2Backbone {
 public:
  struct Options {
    std::array<int, 4> blocks;  // a stage
    int late_stride = 2;        // of the last two patch embeddings: 2, or 1 for a stride of 8 to the end
    double drop_path = 0;       // of the last block; earlier ones in proportion to their depth
  };
  Dgmn2Backbone(nn::Module& owner, const Options& o, nn::Init& init);

  using Maps = std::array<Var, 4>;
  using Tap = std::function<void(const std::string& name, const Var& value)>;
  // [N,H,W,3] -> the four stages' maps, at strides 4, 8 and 16, 32 or 8, 8. drops: whether drop path applies. tap,
  // where set, is told "patch_embedS", "blockS.0.attn" and "blockS.last".
  Maps forward(const Var& image, bool drops, const Tap& tap) const;

 private:
  Options options_;
  int total_blocks_ = 0;
  std::array<Dgmn2PatchEmbed*, 4> patch_embeds_;
  std::array<std::vector<Dgmn2Block*>, 4> blocks_;
};

}  // namespace segrt::models
