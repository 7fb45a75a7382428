// How Dynamic Routing counts its computation: multiply-adds, norms and activations of one image at a fixed resolution,
// whatever the real input (Li et al. 2020, and the published code for the details). Unit: MFLOPs = operations / 1e6.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "kernels/routing.h"

namespace segrt::models {

// The lattice: layer 0 is the initial cell, layer l >= 1 has rows 0 .. min(l, 3). A row's maps have a stride of 4, 8,
// 16, 32 and width, 2, 4, 8 times width channels.
struct Lattice {
  int layers = 16;  // without the initial cell
  int width = 64;
  bool gated = true;
  bool small_gate = false;  // gates look at a quarter of the resolution

  static constexpr int kRows = 4;
  int rows(int layer) const { return layer < kRows ? layer + 1 : kRows; }
  int channels(int row) const { return width << row; }
  bool goes_up(int layer, int row) const { return row > 0 && layer < layers; }
  bool goes_down(int layer, int row) const { return row < kRows - 1 && layer < layers; }
  int slots(int layer, int row) const { return 1 + goes_up(layer, row) + goes_down(layer, row); }
  int cells() const;
  int index(int layer, int row) const;  // in the order of running: layer by layer, rows 0, 1, 2, 3
  // As the published code counts: "init.0" for the initial cell, "0.0" and "0.1" for those of layer 1, ...
  std::string cell_name(int layer, int row) const;
};

struct CellCost {
  double body = 0;
  std::array<double, 3> path{};  // by slot: keep, then up and down where they exist
  double gate = 0;
};
// Of every cell, in the order of Lattice::index, as the cells themselves cost; flat terms: stem and head.
std::vector<CellCost> cell_costs(const Lattice& lattice, int height, int width);
double stem_cost(const Lattice& lattice, int height, int width);
double head_cost(const Lattice& lattice, int height, int width, int classes);  // counted on a square map of the height

// The costs that expected and real FLOPs count: neither body nor gate of the initial cell, nor the keep of the last
// layer.
std::vector<CellCost> counted_costs(const Lattice& lattice, int height, int width);
// Those costs as the table of kernels::expected_cost, for gates in f32.
kernels::RoutingCosts cost_table(const Lattice& lattice, const std::vector<CellCost>& costs, Device& device);

// Per cell of one sample, a path charged to the cell that receives it. gates: by cell index, then slot; the gates of a
// cell that was not evaluated are 0.
using SampleGates = std::vector<std::array<float, 3>>;
std::vector<double> expected_by_cell(const Lattice& lattice, const std::vector<CellCost>& counted,
                                     const SampleGates& gates);
std::vector<double> real_by_cell(const Lattice& lattice, const std::vector<CellCost>& counted,
                                 const SampleGates& gates);

}  // namespace segrt::models
