// Indices, sums and maxima built from the primitives of device.h: one source for GPU and emulator. Included by
// device.h. All reductions have one fixed order, so their bits do not depend on scheduling.
#pragma once

#include "core/dtype.h"

namespace segrt::kernels::cuda {

template <typename A, typename B>
SEGRT_HOST_DEVICE constexpr auto ceil_div(A a, B b) {
  return a / b + (a % b != 0 ? 1 : 0);  // b may be the largest integer: "all in one part"
}
// The least multiple of b that is >= a.
template <typename A, typename B>
SEGRT_HOST_DEVICE constexpr auto round_up(A a, B b) {
  return ceil_div(a, b) * b;
}
// Blocks that cover `count` items at `per_block` items a block.
constexpr int64_t blocks_for(int64_t count, int64_t per_block) { return ceil_div(count, per_block); }
// Blocks of a grid-stride loop over `count` items: enough to fill a large GPU (132 processors, 16 blocks each), no
// more.
constexpr int64_t grid_for(int64_t count, int64_t per_block, int64_t max_blocks = 132 * 16) {
  const int64_t blocks = blocks_for(count, per_block);
  return blocks < max_blocks ? blocks : max_blocks;
}

// ---- indices

// Position in the block, x fastest: what warps are cut from.
SEGRT_DEVICE int linear_thread() {
  const Index3 t = thread_index();
  const Index3 n = block_dim();
  return t.x + n.x * (t.y + n.y * t.z);
}
SEGRT_DEVICE int block_threads() {
  const Index3 n = block_dim();
  return n.x * n.y * n.z;
}
SEGRT_DEVICE int lane_index() { return linear_thread() % kWarpSize; }
SEGRT_DEVICE int warp_index() { return linear_thread() / kWarpSize; }
SEGRT_DEVICE int warps_per_block() { return ceil_div(block_threads(), kWarpSize); }
// The lanes that this warp has: all but in the last warp of a block whose size is no multiple of 32.
SEGRT_DEVICE unsigned warp_mask() {
  const int lanes = block_threads() - warp_index() * kWarpSize;
  return lanes >= kWarpSize ? kFullMask : (1u << lanes) - 1u;
}
// Position along x in the grid, and the grid's extent there: for (i = global_index(); i < n; i += global_size()).
SEGRT_DEVICE int64_t global_index() { return static_cast<int64_t>(block_index().x) * block_dim().x + thread_index().x; }
SEGRT_DEVICE int64_t global_size() { return static_cast<int64_t>(grid_dim().x) * block_dim().x; }

// ---- reductions

struct Add {
  template <typename T>
  SEGRT_DEVICE T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {
  template <typename T>
  SEGRT_DEVICE T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};
struct Min {
  template <typename T>
  SEGRT_DEVICE T operator()(T a, T b) const {
    return b < a ? b : a;
  }
};

// op over the lanes of `mask`, in every one of them. All 32 lanes: a butterfly, in which partners compute the same
// commutative op and so the same bits. Fewer: lane by lane in ascending order.
template <typename T, typename Op>
SEGRT_DEVICE T warp_reduce(T value, Op op, unsigned mask = kFullMask, Site site = Site::current()) {
  if (mask == kFullMask) {
#pragma unroll
    for (int bit = kWarpSize / 2; bit > 0; bit /= 2) value = op(value, warp_shuffle_xor(value, bit, mask, site));
    return value;
  }
  T total = value;
  bool first = true;
  for (int lane = 0; lane < kWarpSize; ++lane) {
    if (!((mask >> lane) & 1u)) continue;
    const T other = warp_shuffle(value, lane, mask, site);
    total = first ? other : op(total, other);
    first = false;
  }
  return total;
}
template <typename T>
SEGRT_DEVICE T warp_sum(T value, unsigned mask = kFullMask, Site site = Site::current()) {
  return warp_reduce(value, Add{}, mask, site);
}
template <typename T>
SEGRT_DEVICE T warp_max(T value, unsigned mask = kFullMask, Site site = Site::current()) {
  return warp_reduce(value, Max{}, mask, site);
}
template <typename T>
SEGRT_DEVICE T warp_min(T value, unsigned mask = kFullMask, Site site = Site::current()) {
  return warp_reduce(value, Min{}, mask, site);
}

template <typename T, int K>
struct BlockReduceScratch {
  T of_warp[kWarpSize][K];
};

// op over the block for each of K values, in every thread: lanes first, then warps in ascending order. Every thread of
// the block calls it. The first barrier is for the scratch memory of an earlier call.
template <typename T, int K, typename Op>
SEGRT_DEVICE void block_reduce(T (&values)[K], Op op, Site site = Site::current()) {
  auto& scratch = block_shared<BlockReduceScratch<T, K>>(site);
  const unsigned mask = warp_mask();
  const int warps = warps_per_block();
#pragma unroll
  for (int k = 0; k < K; ++k) values[k] = warp_reduce(values[k], op, mask, site);
  sync_block(site);
  if (lane_index() == 0)
    for (int k = 0; k < K; ++k) scratch.of_warp[warp_index()][k] = values[k];
  sync_block(site);
#pragma unroll
  for (int k = 0; k < K; ++k) {
    T total = scratch.of_warp[0][k];
    for (int warp = 1; warp < warps; ++warp) total = op(total, scratch.of_warp[warp][k]);
    values[k] = total;
  }
}
// K sums for the barriers of one.
template <typename T, int K>
SEGRT_DEVICE void block_sums(T (&values)[K], Site site = Site::current()) {
  block_reduce(values, Add{}, site);
}
template <typename T>
SEGRT_DEVICE T block_sum(T value, Site site = Site::current()) {
  T values[1] = {value};
  block_reduce(values, Add{}, site);
  return values[0];
}
template <typename T>
SEGRT_DEVICE T block_max(T value, Site site = Site::current()) {
  T values[1] = {value};
  block_reduce(values, Max{}, site);
  return values[0];
}

}  // namespace segrt::kernels::cuda
