// Pictures of the paths that images take through a Dynamic Routing network, as its paper draws them.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "data/image.h"
#include "models/dynamic_routing.h"

namespace segrt::train {

// Averages over images, by cell in the order of Lattice::index.
class RoutingShares {
 public:
  void add(const models::Routing& routing);  // all samples of a forward pass; every call the same lattice

  const models::Lattice& lattice() const { return lattice_; }
  int64_t samples() const { return samples_; }
  double executed(size_t cell) const;           // share of samples for which some gate is open
  double gate(size_t cell, size_t slot) const;  // mean gate

 private:
  models::Lattice lattice_{.layers = 0};
  int64_t samples_ = 0;
  std::vector<double> executed_;
  std::vector<std::array<double, 3>> gates_;
};

// The network as one that routes its images, null where it is of a family that does not.
const models::DynamicRouting* routing_network(const models::Model& model);
// The same for `option`, which needs such a network. Throws ArgumentError naming both.
const models::DynamicRouting& require_routing(const models::Model& model, const std::string& option);

// RGB. Columns are layers from left (the initial cell) to right, rows are strides 4, 8, 16, 32 from the top: a cell is
// centred 36 + 52 layer pixels from the left and 36 + 60 row from the top, 36 pixels inside the picture. The darker
// a cell, the more often it runs; the darker and thicker a path, the larger its gate. Closed cells are hollow, closed
// paths hairlines.
data::Image routing_picture(const RoutingShares& shares);

}  // namespace segrt::train
