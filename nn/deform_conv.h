// Deformable convolutions as layers (autograd/deform.h), under the names that published checkpoints use. No published
// segmentation network has them; DGMN2's and DynamicRouting's code offers them.
#pragma once

#include "autograd/deform.h"
#include "nn/layers.h"

namespace segrt::nn {

struct DeformConvOptions {
  int in, out, kernel = 3, stride = 1, padding = 0, dilation = 1;
  int groups = 1;         // of channels, as in any convolution
  int deform_groups = 1;  // of channels that share offsets and masks
  bool bias = true;       // version 1 never has one

  int samples() const { return deform_groups * kernel * kernel; }  // masks of a position; half its offsets
};

// The convolution itself; offsets and masks are given. weight [out,kernel,kernel,in/groups]: uniform in
// +-sqrt(6 / fan in) (He et al. 2015); bias [out]: zeros.
class DeformConv2d final : public Module {
 public:
  using Options = DeformConvOptions;
  DeformConv2d(const Options& o, Init& init);
  // x [N,H,W,in], offset [N,P,Q,2*samples], mask [N,P,Q,samples] or undefined -> [N,P,Q,out]
  Var forward(const Var& x, const Var& offset, const Var& mask = {}) const;

 private:
  Options options_;
  Var& weight_;
  Var no_bias_;
  Var& bias_;
};

// The others predict offsets (and masks) from x by an ordinary convolution of the same kernel, stride and padding, but
// never dilated: its output must have the size of the main convolution's. Of 3 * samples channels predicted, the first
// two thirds are the offsets, (dy, dx) pairs as they come, and the sigmoid of the last third is the mask.

// DGMN2's: weight, bias, conv_offset_mask. The predictor starts at zero (no offsets, masks of 1/2), the weight uniform
// in +-1/sqrt(in * kernel^2), the bias at zero. groups is 1: upstream's predictor could not read x otherwise.
class ModulatedDeformConvPack final : public Module {
 public:
  using Options = DeformConvOptions;
  ModulatedDeformConvPack(const Options& o, Init& init);
  Var forward(const Var& x) const;

 private:
  Options options_;
  Var& weight_;
  Var no_bias_;
  Var& bias_;
  Conv2d& conv_offset_mask_;
};

// DynamicRouting's version 1: offset_conv (PyTorch's default initialisation), dcn (without bias, whatever o.bias says).
class DeformConvWithOffset final : public Module {
 public:
  using Options = DeformConvOptions;
  DeformConvWithOffset(const Options& o, Init& init);
  Var forward(const Var& x) const;

 private:
  Conv2d& offset_conv_;
  DeformConv2d& dcn_;
};

// DynamicRouting's version 2: offset_mask_conv (PyTorch's default initialisation), dcnv2.
class ModulatedDeformConvWithOffset final : public Module {
 public:
  using Options = DeformConvOptions;
  ModulatedDeformConvWithOffset(const Options& o, Init& init);
  Var forward(const Var& x) const;

 private:
  Options options_;
  Conv2d& offset_mask_conv_;
  DeformConv2d& dcnv2_;
};

}  // namespace segrt::nn
