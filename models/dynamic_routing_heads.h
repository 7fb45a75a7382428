// What turns the four maps that the last layer of a Dynamic Routing lattice keeps into scores.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "models/dynamic_routing_cell.h"
#include "models/dynamic_routing_flops.h"

namespace segrt::models {

class DynamicRoutingHead : public nn::Module {
 public:
  // Row i, [N,h/2^i,w/2^i,width*2^i], as the terms that add up to it; `first` is the shape of row 0. Reports
  // intermediate maps to `tap`.
  struct Rows {
    std::array<std::vector<autograd::RoutedTerm>, Lattice::kRows> terms;
    Shape first;
    DType dtype = DType::f32;
    std::function<void(std::string_view name, const Var& value)> tap;
  };
  virtual Var forward(Rows rows) const = 0;
  // Multiply-adds of the convolutions for a batch whose row 0 has this shape.
  virtual int64_t multiply_adds(const Shape& first) const = 0;
  // MFLOPs of one image of a resolution as the family counts them.
  virtual double mflops(int height, int width) const = 0;

 protected:
  explicit DynamicRoutingHead(const Lattice& lattice) : lattice_(lattice) {}
  // Row `row` of `rows`, with `carried` (doubled in resolution if `upsample2`) in front of its terms where defined.
  Var sum_row(const Rows& rows, int row, const Var& carried, bool upsample2) const;

  Lattice lattice_;
  std::vector<ConvUnit> units_;  // f0 .. f3
};

// p = up2(f3(x3)); p = up2(f2(p + x2)); p = up2(f1(p + x1)); predictor(f0(p + x0)): [N,h,w,classes]. f_i is a 1x1
// convolution with norm and ReLU to the channels of the row above, up2 bilinear, the predictor 3x3.
class DynamicRoutingDecoder final : public DynamicRoutingHead {
 public:
  DynamicRoutingDecoder(const Lattice& lattice, int classes, nn::Init& init);
  Var forward(Rows rows) const override;
  int64_t multiply_adds(const Shape& first) const override;
  double mflops(int height, int width) const override;

 private:
  nn::Conv2d* predictor_;
};

// The classifier on which the published backbones were trained on ImageNet. Its code was not published; its authors
// describe the decoder mirrored: p = f0(x0); p = f1(p + x1); p = f2(p + x2); fc(mean(f3(p + x3))): [N,1,1,classes].
// Here f_i is a 1x1 convolution with norm and ReLU to the channels of the row below, of stride 2 but for f3, as on the
// lattice's own way down.
class DynamicRoutingClassifier final : public DynamicRoutingHead {
 public:
  DynamicRoutingClassifier(const Lattice& lattice, int classes, nn::Init& init);
  Var forward(Rows rows) const override;
  int64_t multiply_adds(const Shape& first) const override;
  double mflops(int height, int width) const override;

 private:
  nn::Conv2d* fc_;
};

}  // namespace segrt::models
