#include "models/resnet.h"

#include "autograd/pool.h"

namespace segrt::models {

ResNet18::ResNet18(nn::Init& init) {
  struct StemLayer {
    int in, out, stride;
  };
  constexpr StemLayer kStem[] = {{3, 32, 2}, {32, 32, 1}, {32, 64, 1}};
  nn::Module& stem = child<nn::Sequence>("stem");
  for (size_t k = 0; k < 3; ++k)  // a ReLU takes each third number
    stem_[k] = {&stem.child<nn::Conv2d>(
                    std::to_string(3 * k),
                    {.in = kStem[k].in, .out = kStem[k].out, .stride = kStem[k].stride, .padding = 1}, init),
                &stem.child<nn::BatchNorm>(std::to_string(3 * k + 1), {.channels = kStem[k].out}, init)};
  for (int k = 0; k < 4; ++k) {
    const int in = channels()[static_cast<size_t>(k)], planes = channels()[static_cast<size_t>(k) + 1];
    stages_[static_cast<size_t>(k)] = &child<BlockStage>(
        "layer" + std::to_string(k + 1),
        {.in = in, .planes = planes, .blocks = 2, .stride = k == 0 ? 1 : 2, .zero_last_norm = true}, init);
  }
}

Var ResNet18::stem(const Var& image, const Tap& tap) const {
  Var x = image;
  for (const auto& [conv, bn] : stem_) x = nn::conv_bn(*conv, *bn, x, nn::Act::relu);
  tap("stem", x);
  return x;
}

Var ResNet18::stage(int n, const Var& x, const Tap& tap) const {
  // The padding of this pool is minus infinity.
  const Var in =
      n == 1 ? autograd::max_pool2d(x, kernels::PoolGeometry::square({.kernel = 3, .stride = 2, .padding = 1})) : x;
  const Var y = stages_.at(static_cast<size_t>(n) - 1)->forward(in);
  tap("layer" + std::to_string(n), y);
  return y;
}

}  // namespace segrt::models
