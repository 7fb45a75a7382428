// One cell of Dynamic Routing's lattice: it adds up what its neighbours send, decides by its gates which of the paths
// keep, up (twice the resolution, half the channels) and down (half, twice) it takes, and computes what those need.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "autograd/routing.h"
#include "kernels/routing.h"
#include "nn/norm_group.h"

namespace segrt::models {

// A convolution of this family: no bias, weights drawn by fan in; at stride 1 the size stays.
nn::Conv2d::Options convolution(int in, int out, int kernel, int stride = 1, int groups = 1);

// Convolution, batch norm, ReLU; the norm is a child of the convolution ("op.1.norm.weight").
struct ConvUnit {
  nn::Conv2d* conv = nullptr;
  nn::BatchNorm* norm = nullptr;
  nn::Act act = nn::Act::relu;

  static ConvUnit make(nn::Module& parent, const std::string& name, nn::Conv2d::Options options, nn::Init& init,
                       nn::Act act = nn::Act::relu);
  Var forward(const Var& x) const { return nn::conv_bn(*conv, *norm, x, act); }
  nn::NormPart part(const Var& x) const { return {conv, *norm, x, act}; }
  // unit(depthwise(x)), and relu(unit(depthwise(x)) + residual)
  Var forward_behind(const nn::Conv2d& depthwise, const Var& x) const {
    return nn::separable_conv_bn(depthwise, *conv, *norm, x, act);
  }
  Var forward_behind_add_relu(const nn::Conv2d& depthwise, const Var& x, const Var& residual) const {
    return nn::separable_conv_bn(depthwise, *conv, *norm, x, nn::Act::relu, residual);
  }
};

// What a cell has done with a batch. Maps are not yet multiplied by their gates: the receiver multiplies, doubles the
// resolution and adds, in one pass over memory. A map that was not computed is undefined.
struct CellState {
  Tensor flags;        // i32 [kCellFlags]; undefined where every cell runs
  Var gates, factors;  // [N,S], [N,1+S] (kernels::route_gates); undefined without gates
  Tensor logits;       // [N,S], before tanh and ReLU
  Var input, body;     // [N,h,w,C]: x, and relu(h)
  Var up, down;        // [N,h,w,C/2] (not yet doubled), [N,h/2,w/2,2C]
};

enum class PathKind : uint8_t { keep, up, down };

class Cell final : public nn::Module {
 public:
  struct Options {
    int channels = 64;
    bool up = false, down = false;
    bool gated = true, small_gate = false;
  };
  Cell(const Options& o, nn::Init& init);

  // The terms that this cell, in state s, contributes to the cell at the other end of a path.
  void append_terms(const CellState& s, PathKind path, std::vector<autograd::RoutedTerm>& terms) const;

  // A batch: `terms` add up to the input [N,h,w,C]. drop: factors [N,1] of the separable convolution (drop path), or
  // undefined. In evaluation of a gated network `senders` tell whether there is any input, and what is closed is not
  // computed.
  struct Input {
    std::vector<autograd::RoutedTerm> terms;
    std::vector<kernels::Sender> senders;
    Shape shape;
    DType dtype = DType::f32;
    Tensor drop;
  };
  CellState forward(const Input& in) const;
  // The cells of a layer in training, as forward() of each: their norms that do not depend on one another share
  // messages, three of them forward and three backward whatever the number of cells.
  static std::vector<CellState> forward_together(const std::vector<const Cell*>& cells,
                                                 const std::vector<Input>& inputs);
  bool shares_messages() const { return nn::shares_messages(*pointwise1_.norm); }

  int slots() const { return 1 + options_.up + options_.down; }
  const Options& options() const { return options_; }

 private:
  int slot(PathKind path) const { return path == PathKind::keep ? 0 : path == PathKind::up ? 1 : slots() - 1; }
  Var seen_by_gate(const Var& x) const;
  Var gates(const Var& map, Tensor& logits) const;
  Tensor open_gates(int64_t batch) const;
  Var body(const Var& x, const Tensor& drop) const;
  Var with_drop(const Var& branch, const Var& x, const Tensor& drop) const;

  Options options_;
  Tensor constant_gates_;  // gates off: ones [1,1,1,S]
  nn::Conv2d *depthwise1_, *depthwise2_;
  ConvUnit pointwise1_, pointwise2_;
  ConvUnit up_, down_, gate_;
  nn::Conv2d* gate_out_ = nullptr;
};

// The sum of terms over `shape`; zeros when there are none.
Var sum_terms(const std::vector<autograd::RoutedTerm>& terms, const Shape& shape, DType dtype, Device& device);

}  // namespace segrt::models
