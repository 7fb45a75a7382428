// Parts of DGMN2's backbone: patch embeddings and the block of dynamic message passing. Tokens are kept as maps
// [N,H,W,C]: the same bytes.
#pragma once

#include <vector>

#include "autograd/deform_attention.h"
#include "nn/layers.h"

namespace segrt::models {

inline constexpr int kDgmn2HeadWidth = 64;

// What the blocks of a stage have in common.
struct Dgmn2Stage {
  int channels, heads, mlp_ratio;
  int grid;  // side of the map that the position tables were made for: they have grid + 8 rows
};

// Tables of relative positions, rel_height and rel_width [grid+8,64].
class Dgmn2Positions final : public nn::Module {
 public:
  struct Options {
    int grid;
  };
  Dgmn2Positions(const Options& o, nn::Init& init);
  Var height(int n) const { return autograd::resample_position_table(rel_height_, n); }  // [n+8,64]
  Var width(int n) const { return autograd::resample_position_table(rel_width_, n); }

 private:
  Var &rel_height_, &rel_width_;
};

// Every pixel gathers, in each head, from nine points around it that it predicts itself: autograd/deform_attention.h.
class Dgmn2Attention final : public nn::Module {
 public:
  using Options = Dgmn2Stage;
  Dgmn2Attention(const Options& o, nn::Init& init);
  Var forward(const Var& x) const;  // [N,H,W,C] -> [N,H,W,C]

 private:
  void report(const Tensor& y) const;

  Options options_;
  nn::Linear &qkv_, &proj_, &conv_offset_;
  Dgmn2Positions& positions_;
};

class Dgmn2Mlp final : public nn::Module {
 public:
  struct Options {
    int channels, hidden;
  };
  Dgmn2Mlp(const Options& o, nn::Init& init);
  Var forward(const Var& x) const { return nn::mlp(fc1_, fc2_, x); }

 private:
  nn::Linear &fc1_, &fc2_;
};

// x + attn(norm1(x)), then + mlp(norm2(.)); in training either branch may be dropped for an image (drop path).
class Dgmn2Block final : public nn::Module {
 public:
  struct Options {
    Dgmn2Stage stage;
    uint64_t layer = 0;  // distinguishes the blocks' random numbers
  };
  Dgmn2Block(const Options& o, nn::Init& init);
  // drop_path: the probability; step: i64 [1], what its random numbers follow. attended (or nullptr) receives the
  // attention branch before the sum.
  Var forward(const Var& x, double drop_path, const Tensor& step, Var* attended = nullptr) const;

 private:
  uint64_t seed_, layer_;
  nn::LayerNorm& norm1_;
  Dgmn2Attention& attn_;
  nn::LayerNorm& norm2_;
  Dgmn2Mlp& mlp_;
};

// One or three (the first stage's) 3x3 convolutions with batch norm and ReLU.
class Dgmn2PatchEmbed final : public nn::Module {
 public:
  struct Layer {
    int in, out, stride;
  };
  struct Options {
    std::vector<Layer> layers;  // one: named conv, norm; several: conv1, norm1, conv2, ...
  };
  Dgmn2PatchEmbed(const Options& o, nn::Init& init);
  Var forward(const Var& x) const;
  // i64 [1]: training passes so far, on the device and in checkpoints.
  Tensor step() const { return layers_.back().norm->batches().reshape({1}); }

 private:
  struct Unit {
    nn::Conv2d* conv;
    nn::BatchNorm* norm;
  };
  std::vector<Unit> layers_;
};

}  // namespace segrt::models
