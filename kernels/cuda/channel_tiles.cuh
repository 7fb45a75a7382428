// How blocks cover [P, C] data (P positions, C channels) when a result or a parameter belongs to a channel: a block
// takes a tile of channels and a chunk of positions. A thread keeps one vector of V channels (16 bytes where C and the
// pointers allow) and strides over positions, so per-channel values stay in registers and a warp reads whole cache
// lines.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {

inline constexpr int kTileThreads = 256;

struct ChannelTiles {
  int64_t positions;  // P
  int64_t chunk;      // positions of a block
  int64_t chunks;     // blocks along P
  int channels;       // C
  int groups;         // C / V vectors
  int tile;           // vectors of a block
  int tiles;          // blocks along C
  int rows;           // positions that a block reads at once: tile * rows threads of kTileThreads work

  SEGRT_HOST_DEVICE int64_t blocks() const { return chunks * tiles; }
};

// Tiles of 256 bytes a position and chunks of `steps` strides a thread; chunks grow so that there are at most
// max_chunks.
template <typename T, int V>
ChannelTiles channel_tiles(int64_t positions, int64_t channels, int64_t steps, int64_t max_chunks = INT32_MAX) {
  ChannelTiles t{};
  t.positions = positions;
  t.channels = static_cast<int>(channels);
  t.groups = t.channels / V;
  t.tiles = ceil_div(t.groups, 256 / (V * static_cast<int>(sizeof(T))));
  t.tile = ceil_div(t.groups, t.tiles);
  t.rows = kTileThreads / t.tile;
  t.chunk = std::max(t.rows * steps, ceil_div(positions, max_chunks));
  t.chunks = ceil_div(positions, t.chunk);
  return t;
}

// Of a sum over positions: at most 4 blocks of 256 threads for each of 132 processors (enough loads in flight), none of
// less than 16 strides. A function of the sizes alone, as the order of additions is.
template <typename T, int V>
ChannelTiles first_stage_tiles(int64_t positions, int64_t channels) {
  return channel_tiles<T, V>(positions, channels, 16, 4 * 132);
}

// Of the second stage, over float [parts, channels]: one chunk, 8 channels (a 32-byte sector) a block.
inline ChannelTiles second_stage_tiles(int64_t parts, int64_t channels) {
  ChannelTiles t{};
  t.positions = t.chunk = parts;
  t.chunks = 1;
  t.channels = t.groups = static_cast<int>(channels);
  t.tile = std::min(t.groups, 8);
  t.tiles = ceil_div(t.groups, t.tile);
  t.rows = kTileThreads / t.tile;
  return t;
}

// The part of one thread. Threads beyond tile * rows, and groups beyond the last channel, own nothing.
struct TilePart {
  int64_t chunk;       // index of the block along P
  int64_t begin, end;  // positions begin, begin + rows, ... < end
  int channel;         // first of V channels
  int row;
  bool active;
};
template <int V>
SEGRT_DEVICE TilePart tile_part(const ChannelTiles& t, int64_t block) {
  TilePart part;
  part.chunk = block / t.tiles;
  const int thread = thread_index().x;
  const int group = static_cast<int>(block % t.tiles) * t.tile + thread % t.tile;
  part.row = thread / t.tile;
  part.channel = group * V;
  part.active = part.row < t.rows && group < t.groups;
  part.begin = part.chunk * t.chunk + part.row;
  const int64_t end = (part.chunk + 1) * t.chunk;
  part.end = end < t.positions ? end : t.positions;
  return part;
}

// Combines the states of a block's rows by halves, in an order fixed by the number of rows. Row 0 holds the result.
// Every thread of the block calls it; `shared` has kTileThreads states. State: own.combine(other). Its size should be
// an odd number of floats, or all lanes of a warp meet in one bank.
template <typename State>
SEGRT_DEVICE void combine_rows(State& own, const ChannelTiles& t, const TilePart& part, State* shared) {
  const int thread = thread_index().x;
  shared[thread] = own;
  for (int rows = t.rows; rows > 1;) {
    const int kept = (rows + 1) / 2;
    sync_block();
    if (part.active && part.row + kept < rows) {
      own.combine(shared[thread + kept * t.tile]);
      shared[thread] = own;
    }
    rows = kept;
  }
}

// Two sums for each of V channels: of gradients g and of g * x, as normalisation needs them.
template <typename A, int V>
struct PairSums {
  A g[V], gx[V];
  float odd;  // an odd number of words: see combine_rows

  SEGRT_DEVICE void combine(const PairSums& other) {
#pragma unroll
    for (int k = 0; k < V; ++k) {
      g[k] += other.g[k];
      gx[k] += other.gx[k];
    }
  }
};

// First stage: the sums of a block's rows, combined, as entry part.chunk of both partials [chunks, channels].
template <int V>
SEGRT_DEVICE void write_partial_sums(PairSums<float, V>& own, const ChannelTiles& t, const TilePart& part,
                                     float* partial_g, float* partial_gx) {
  combine_rows(own, t, part, dynamic_shared<PairSums<float, V>>());
  if (!part.active || part.row != 0) return;
  const int64_t at = part.chunk * t.channels + part.channel;
#pragma unroll
  for (int k = 0; k < V; ++k) {
    partial_g[at + k] = own.g[k];
    partial_gx[at + k] = own.gx[k];
  }
}

// Second stage: the sum over all chunks, in float64; of part.row 0.
SEGRT_DEVICE PairSums<double, 1> sum_of_partials(const float* partial_g, const float* partial_gx, const ChannelTiles& t,
                                                 const TilePart& part) {
  PairSums<double, 1> own{};
  if (part.active)
    for (int64_t p = part.begin; p < part.end; p += t.rows) {
      const int64_t at = p * t.channels + part.channel;
      own.g[0] += static_cast<double>(partial_g[at]);
      own.gx[0] += static_cast<double>(partial_gx[at]);
    }
  combine_rows(own, t, part, dynamic_shared<PairSums<double, 1>>());
  return own;
}

// V elements as floats, in one access.
template <typename T, int V>
SEGRT_DEVICE void load_floats(const T* p, float (&values)[V]) {
  const Vec<T, V> loaded = load_vec<T, V>(p);
#pragma unroll
  for (int k = 0; k < V; ++k) values[k] = to_float(loaded[k]);
}
template <typename T, int V>
SEGRT_DEVICE void store_floats(T* p, const float (&values)[V]) {
  Vec<T, V> rounded;
#pragma unroll
  for (int k = 0; k < V; ++k) rounded[k] = from_float<T>(values[k]);
  store_vec(p, rounded);
}

// Calls f.template operator()<T, V>(): V = 16 bytes where C and all (non-null) pointers allow, else 1.
template <typename T, typename F>
void dispatch_channel_vector(int64_t channels, std::initializer_list<const void*> pointers, const F& f) {
  const bool wide = channels % kVec<T> == 0 &&
                    std::all_of(pointers.begin(), pointers.end(), [](const void* p) { return is_aligned(p); });
  wide ? f.template operator()<T, kVec<T>>() : f.template operator()<T, 1>();
}

}  // namespace segrt::kernels::cuda
