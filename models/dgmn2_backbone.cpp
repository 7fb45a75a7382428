#include "models/dgmn2_backbone.h"

#include <algorithm>
#include <numeric>

namespace segrt::models {
namespace {
constexpr Dgmn2Stage kStages[] = {{.channels = 64, .heads = 1, .mlp_ratio = 8, .grid = 56},
                                  {.channels = 128, .heads = 2, .mlp_ratio = 8, .grid = 28},
                                  {.channels = 320, .heads = 5, .mlp_ratio = 4, .grid = 14},
                                  {.channels = 512, .heads = 8, .mlp_ratio = 4, .grid = 7}};
}  // namespace

Dgmn2Backbone::Dgmn2Backbone(nn::Module& owner, const Options& o, nn::Init& init)
    : options_(o), total_blocks_(std::accumulate(o.blocks.begin(), o.blocks.end(), 0)) {
  using Layer = Dgmn2PatchEmbed::Layer;
  const int c = kStages[0].channels;
  for (size_t s = 0; s < 4; ++s) {
    const std::vector<Layer> layers =
        s == 0 ? std::vector<Layer>{{3, c / 2, 2}, {c / 2, c / 2, 1}, {c / 2, c, 2}}
               : std::vector<Layer>{{kStages[s - 1].channels, kStages[s].channels, s == 1 ? 2 : o.late_stride}};
    patch_embeds_[s] = &owner.child<Dgmn2PatchEmbed>("patch_embed" + std::to_string(s + 1), {.layers = layers}, init);
  }
  uint64_t layer = 0x64676d6e;
  for (size_t s = 0; s < 4; ++s) {
    nn::Module& stage = owner.child<nn::Sequence>("block" + std::to_string(s + 1));
    for (int k = 0; k < o.blocks[s]; ++k)
      blocks_[s].push_back(&stage.child<Dgmn2Block>(std::to_string(k), {.stage = kStages[s], .layer = layer++}, init));
  }
}

Dgmn2Backbone::Maps Dgmn2Backbone::forward(const Var& image, bool drops, const Tap& tap) const {
  Maps maps;
  Var x = image;
  int number = 0;
  for (size_t s = 0; s < 4; ++s) {
    const std::string name = std::to_string(s + 1);
    x = patch_embeds_[s]->forward(x);
    if (tap) tap("patch_embed" + name, x);
    const Tensor step = patch_embeds_[s]->step();
    for (const Dgmn2Block* block : blocks_[s]) {
      const double rate = drops ? options_.drop_path * number++ / std::max(1, total_blocks_ - 1) : 0;
      Var attended;
      const bool first = block == blocks_[s].front();
      x = block->forward(x, rate, step, tap && first ? &attended : nullptr);
      if (tap && first) tap("block" + name + ".0.attn", attended);
    }
    if (tap) tap("block" + name + ".last", x);
    maps[s] = x;
  }
  return maps;
}

}  // namespace segrt::models
