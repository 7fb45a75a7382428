// ResNet (He et al. 2016, arXiv:1512.03385) in the variant called v1c: the 7x7 stem is three 3x3 convolutions. Names
// are those of OpenMMLab's checkpoint resnet18_v1c.
#pragma once

#include <array>
#include <utility>

#include "models/residual_blocks.h"
#include "models/trunk.h"

namespace segrt::models {

class ResNet18 final : public Trunk {
 public:
  explicit ResNet18(nn::Init& init);

  Var stem(const Var& image, const Tap& tap) const override;
  Var stage(int n, const Var& x, const Tap& tap) const override;
  std::array<int, 5> channels() const override { return {64, 64, 128, 256, 512}; }
  bool ignores_pretrained(const std::string& file_name) const override { return file_name.starts_with("fc."); }

 private:
  std::array<std::pair<nn::Conv2d*, nn::BatchNorm*>, 3> stem_;
  std::array<BlockStage*, 4> stages_;
};

}  // namespace segrt::models
