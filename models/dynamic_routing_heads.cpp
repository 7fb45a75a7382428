#include "models/dynamic_routing_heads.h"

#include <algorithm>
#include <string>

#include "autograd/pool.h"

namespace segrt::models {
namespace {
using autograd::RoutedTerm;

int64_t halved(int64_t n) { return (n + 1) / 2; }  // by a 1x1 convolution of stride 2
}  // namespace

Var DynamicRoutingHead::sum_row(const Rows& rows, int row, const Var& carried, bool upsample2) const {
  std::vector<RoutedTerm> terms;
  if (carried.defined()) terms.push_back({.x = carried, .upsample2 = upsample2});
  const auto& own = rows.terms[static_cast<size_t>(row)];
  terms.insert(terms.end(), own.begin(), own.end());
  const Shape& f = rows.first;
  return sum_terms(terms, {f[0], f[1] >> row, f[2] >> row, lattice_.channels(row)}, rows.dtype,
                   units_.front().conv->weight().device());
}

DynamicRoutingDecoder::DynamicRoutingDecoder(const Lattice& lattice, int classes, nn::Init& init)
    : DynamicRoutingHead(lattice) {
  nn::Module& list = child<nn::Sequence>("layer_decoder_list");
  for (int row = 0; row < Lattice::kRows; ++row)
    units_.push_back(ConvUnit::make(list, std::to_string(row),
                                    convolution(lattice.channels(row), lattice.channels(std::max(row - 1, 0)), 1),
                                    init));
  nn::Conv2d::Options predictor = convolution(lattice.width, classes, 3);
  predictor.bias = true;
  predictor_ = &child<nn::Conv2d>("predictor", predictor, init);
}

Var DynamicRoutingDecoder::forward(Rows rows) const {
  const nn::ModuleScope scope(*this, "decoder", units_.front().conv->weight().device());
  Var p;
  for (int row = Lattice::kRows - 1; row >= 0; --row) {
    p = units_[static_cast<size_t>(row)].forward(sum_row(rows, row, p, true));
    if (rows.tap) rows.tap("decoder" + std::to_string(row), p);
  }
  return predictor_->forward(p);
}

int64_t DynamicRoutingDecoder::multiply_adds(const Shape& first) const {
  int64_t sum = first[1] * first[2] * 9 * lattice_.width * predictor_->weight().dim(0);
  for (int row = 0; row < Lattice::kRows; ++row)
    sum += (first[1] >> row) * (first[2] >> row) * lattice_.channels(row) * lattice_.channels(std::max(row - 1, 0));
  return first[0] * sum;
}

double DynamicRoutingDecoder::mflops(int height, int width) const {
  return head_cost(lattice_, height, width, static_cast<int>(predictor_->weight().dim(0)));
}

DynamicRoutingClassifier::DynamicRoutingClassifier(const Lattice& lattice, int classes, nn::Init& init)
    : DynamicRoutingHead(lattice) {
  constexpr int kLast = Lattice::kRows - 1;
  nn::Module& list = child<nn::Sequence>("layer_aggregator_list");
  for (int row = 0; row < Lattice::kRows; ++row)
    units_.push_back(ConvUnit::make(
        list, std::to_string(row),
        convolution(lattice.channels(row), lattice.channels(std::min(row + 1, kLast)), 1, row < kLast ? 2 : 1), init));
  nn::Conv2d::Options fc = convolution(lattice.channels(kLast), classes, 1);
  fc.bias = true;
  fc_ = &child<nn::Conv2d>("fc", fc, init);
}

Var DynamicRoutingClassifier::forward(Rows rows) const {
  const nn::ModuleScope scope(*this, "classifier", units_.front().conv->weight().device());
  Var p;
  for (int row = 0; row < Lattice::kRows; ++row) {
    p = units_[static_cast<size_t>(row)].forward(sum_row(rows, row, p, false));
    if (rows.tap) rows.tap("aggregator" + std::to_string(row), p);
  }
  return fc_->forward(autograd::global_avg_pool(p));
}

int64_t DynamicRoutingClassifier::multiply_adds(const Shape& first) const {
  constexpr int kLast = Lattice::kRows - 1;
  int64_t sum = lattice_.channels(kLast) * fc_->weight().dim(0);
  for (int row = 0; row < Lattice::kRows; ++row) {
    const int64_t h = first[1] >> row, w = first[2] >> row;
    const int64_t outputs = row < kLast ? halved(h) * halved(w) : h * w;
    sum += outputs * lattice_.channels(row) * lattice_.channels(std::min(row + 1, kLast));
  }
  return first[0] * sum;
}

// By the rules for the rest: multiply-adds, 2 a value for a norm, 1 for a ReLU and for the pooling.
double DynamicRoutingClassifier::mflops(int height, int width) const {
  constexpr int kLast = Lattice::kRows - 1;
  const Shape first{1, height / 4, width / 4, lattice_.width};
  auto sum = static_cast<double>(multiply_adds(first));
  for (int row = 0; row < Lattice::kRows; ++row) {
    const int below = std::min(row + 1, kLast);
    sum += 3.0 * static_cast<double>((first[1] >> below) * (first[2] >> below)) * lattice_.channels(below);
  }
  sum += static_cast<double>((first[1] >> kLast) * (first[2] >> kLast)) * lattice_.channels(kLast);
  return sum / 1e6;
}

}  // namespace segrt::models
