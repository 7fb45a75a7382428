#include "models/dynamic_routing_flops.h"

#include <algorithm>

namespace segrt::models {
namespace {
constexpr float kOpen = kernels::kClosedBelow;

// Adds each path of a cell to the cell it leads to: `share` of its cost.
template <typename Share>
void charge_paths(const Lattice& l, const std::vector<CellCost>& costs, const Share& share,
                  std::vector<double>& by_cell) {
  for (int layer = 0; layer < l.layers; ++layer)
    for (int row = 0; row < l.rows(layer); ++row) {
      const auto from = static_cast<size_t>(l.index(layer, row));
      size_t slot = 0;
      const auto charge = [&](int to_row) {
        by_cell[static_cast<size_t>(l.index(layer + 1, to_row))] += share(from, slot) * costs[from].path[slot];
        ++slot;
      };
      charge(row);
      if (l.goes_up(layer, row)) charge(row - 1);
      if (l.goes_down(layer, row)) charge(row + 1);
    }
}
}  // namespace

int Lattice::cells() const { return index(layers + 1, 0); }

int Lattice::index(int layer, int row) const {
  int before = 0;
  for (int l = 0; l < layer; ++l) before += rows(l);
  return before + row;
}

std::string Lattice::cell_name(int layer, int row) const {
  return (layer == 0 ? "init" : std::to_string(layer - 1)) + "." + std::to_string(row);
}

std::vector<CellCost> cell_costs(const Lattice& l, int height, int width) {
  std::vector<CellCost> costs;
  for (int layer = 0; layer <= l.layers; ++layer)
    for (int row = 0; row < l.rows(layer); ++row) {
      const double c = l.channels(row);
      const int h = height / 4 >> row, w = width / 4 >> row;
      const double area = static_cast<double>(h) * w;
      const double gate_area = l.small_gate ? static_cast<double>(h / 4) * (w / 4) : area;
      CellCost cost;
      cost.body = area * c * (2 * c + 23) / 1e6;
      cost.path[0] = area * c / 1e6;
      for (int s = 1; s < l.slots(layer, row); ++s)
        cost.path[static_cast<size_t>(s)] = area * c * (c / 2 + 2.5) / 1e6;  // up and down cost the same
      if (l.gated) cost.gate = (gate_area * c * (c / 2 + 2) + l.slots(layer, row) * c / 2) / 1e6;
      costs.push_back(cost);
    }
  return costs;
}

double stem_cost(const Lattice& l, int height, int width) {
  const double c = l.width, half = static_cast<double>(height / 2) * (width / 2),
               quarter = static_cast<double>(height / 4) * (width / 4);
  return (half * (27 * c + 3 * c + 9 * c + c * c + 3 * c) + quarter * (9 * c + c * c + 3 * c)) / 1e6;
}

double head_cost(const Lattice& l, int height, int /*width*/, int classes) {
  double cost = 0;
  for (int row = 0; row < Lattice::kRows; ++row) {
    const double side = height / 4 >> row, in = l.channels(row), out = l.channels(std::max(row - 1, 0));
    cost += side * side * (in * out + 3 * out);
    if (row == 0) cost += side * side * 9 * in * classes;
  }
  return cost / 1e6;
}

std::vector<CellCost> counted_costs(const Lattice& l, int height, int width) {
  std::vector<CellCost> costs = cell_costs(l, height, width);
  costs.front().body = costs.front().gate = 0;
  for (int row = 0; row < l.rows(l.layers); ++row) costs[static_cast<size_t>(l.index(l.layers, row))].path = {};
  return costs;
}

kernels::RoutingCosts cost_table(const Lattice& l, const std::vector<CellCost>& costs, Device& device) {
  std::vector<int32_t> first{0};
  std::vector<float> body, path;
  for (int layer = 0; layer <= l.layers; ++layer)
    for (int row = 0; row < l.rows(layer); ++row) {
      const CellCost& cost = costs[static_cast<size_t>(l.index(layer, row))];
      body.push_back(static_cast<float>(cost.body));
      for (int s = 0; s < l.slots(layer, row); ++s)
        path.push_back(static_cast<float>(cost.path[static_cast<size_t>(s)]));
      first.push_back(static_cast<int32_t>(path.size()));
    }
  const auto tensor = [&]<typename T>(const std::vector<T>& values) {
    return Tensor::from<T>({static_cast<int64_t>(values.size())}, values, device);
  };
  return {tensor(first), tensor(body), tensor(path)};
}

std::vector<double> expected_by_cell(const Lattice& l, const std::vector<CellCost>& counted, const SampleGates& gates) {
  std::vector<double> by_cell(counted.size());
  for (size_t i = 0; i < counted.size(); ++i)
    by_cell[i] = counted[i].body * static_cast<double>(*std::max_element(gates[i].begin(), gates[i].end()));
  charge_paths(
      l, counted, [&](size_t cell, size_t slot) { return static_cast<double>(gates[cell][slot]); }, by_cell);
  return by_cell;
}

std::vector<double> real_by_cell(const Lattice& l, const std::vector<CellCost>& counted, const SampleGates& gates) {
  std::vector<double> by_cell(counted.size());
  for (size_t i = 0; i < counted.size(); ++i) {
    const float sum = gates[i][0] + gates[i][1] + gates[i][2];
    by_cell[i] = counted[i].gate + (sum > kOpen ? counted[i].body : 0.0);
  }
  charge_paths(
      l, counted, [&](size_t cell, size_t slot) { return gates[cell][slot] > kOpen ? 1.0 : 0.0; }, by_cell);
  return by_cell;
}

}  // namespace segrt::models
