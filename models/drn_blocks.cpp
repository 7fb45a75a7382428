#include "models/drn_blocks.h"

#include <cmath>

namespace segrt::models {
using nn::Act;
using nn::BatchNorm;
using nn::Conv2d;

PlainStage::PlainStage(const Options& o, nn::Init& init) : width_(o.planes) {
  for (int i = 0; i < o.convolutions; ++i) {
    Conv2d& conv = child<Conv2d>(std::to_string(3 * i),
                                 {.in = i == 0 ? o.in : o.planes,
                                  .out = o.planes,
                                  .kernel = o.kernel,
                                  .stride = i == 0 ? o.stride : 1,
                                  .padding = o.dilation * (o.kernel / 2),
                                  .dilation = o.dilation},
                                 init);
    layers_.emplace_back(&conv, &child<BatchNorm>(std::to_string(3 * i + 1), {.channels = o.planes}, init));
  }
}

Var PlainStage::forward(const Var& x) const {
  Var y = x;
  for (const auto& [conv, bn] : layers_) y = nn::conv_bn(*conv, *bn, y, Act::relu);
  return y;
}

namespace {
std::vector<float> standard_kernel(int classes) {
  const auto t = [](int i) {
    return 1.0f - std::abs(static_cast<float>(i) / 8.0f - 15.0f / 16.0f);
  };  // exact in float32
  std::vector<float> values;
  for (int c = 0; c < classes; ++c)
    for (int i = 0; i < 16; ++i)
      for (int j = 0; j < 16; ++j) values.push_back(t(i) * t(j));
  return values;
}
}  // namespace

FixedUpsampling::FixedUpsampling(int classes, Device& device)
    : weight_(parameter("weight", Tensor::from<float>({classes, 16, 16, 1}, standard_kernel(classes), device),
                        /*trained=*/false)),
      standard_(standard_kernel(classes)) {}

bool FixedUpsampling::is_standard() const {
  const Tensor& weight = weight_.value();
  if (checked_version_ != weight.version() && !weight.device().is_meta()) {
    is_standard_ = weight.to_vector<float>() == standard_;
    checked_version_ = weight.version();
  }
  return is_standard_;
}

}  // namespace segrt::models
