// Decisions of networks whose cells may be skipped (Dynamic Routing, Li et al. 2020): small kernels whose results stay
// on the device, so that nothing waits for them.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace segrt::kernels {

// A cell is closed for a sample, or for a batch, when its gates sum to less than this.
inline constexpr float kClosedBelow = 1e-4f;

// The flags of a cell, i32 [kCellFlags]: fed: some sender sends a tensor (not the constant zero of a skipped cell);
// executed: fed, and the gates of the batch are not all closed; path 0, 1, 2: executed, and that gate is open for some
// sample.
enum class CellFlag : uint8_t { fed, executed, path0, path1, path2 };
inline constexpr int kCellFlags = 5;

// One sender of a cell: its flags, and which of them says whether it sends a tensor.
struct Sender {
  Tensor flags;
  CellFlag flag;
};
// flags[fed] = 1 if a sender's flag is set, else 0; the other flags become 0. 1 to 3 senders.
void route_senders(const std::vector<Sender>& senders, Tensor& flags);

// gates [N,S] f32, S = 1..3; flags with fed set or not (undefined: training, where every cell runs). Writes
// factors [N,1+S]: f[n,0] = 1 where the gates of n sum to less than kClosedBelow, else 0: the share of the cell's raw
// input in what it keeps; f[n,1+s] = gates[n,s]. With flags: sets executed and the paths; a cell that is not fed has
// only zero factors, one that is fed but not executed has f[n,0] = 1 and zeros. The sum over a batch is in order of n,
// s.
void route_gates(const Tensor& gates, Tensor* flags, Tensor& factors);
// dgates[n,s] = dfactors[n,1+s].
void route_gates_backward(const Tensor& dfactors, Tensor& dgates);

// The cost of a network's cells as a table on the device: a row a cell, in the order of their gates in [N,T].
struct RoutingCosts {
  Tensor first;  // i32 [cells+1]: the cell's gates are columns first[i] .. first[i+1]
  Tensor body;   // [cells] f32 (f64 with f64 gates)
  Tensor path;   // [T]
};
// Expected cost of each sample: e[n] = sum over cells of max_s(g) * body + sum_s g * path. gates [N,T], e [N].
void expected_cost(const Tensor& gates, const RoutingCosts& costs, Tensor& e);
// dgates[n,t] = de[n] * (path[t] + body of the cell if t is its first largest gate).
void expected_cost_backward(const Tensor& de, const Tensor& gates, const RoutingCosts& costs, Tensor& dgates);

}  // namespace segrt::kernels
