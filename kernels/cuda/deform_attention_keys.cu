// Any query may have sampled any pixel, and sums must not depend on the order of threads. So pixels gather: a block
// owns a tile of pixels of one head and takes, tile of queries by tile of queries, what these pass on to it. Which
// tiles can is known from the pixels that each of them samples; with offsets of a pixel or two it is the tile's
// neighbours.
#include "kernels/cuda/deform_attention_keys.h"

#include "kernels/attention_taps.h"
#include "kernels/cuda/device.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {
constexpr int kSide = 8;  // of a tile, of queries or pixels
constexpr int kTile = kSide * kSide;
constexpr int kTileTaps = kTile * kAttentionTaps;
constexpr int kThreads = 2 * kHeadWidth;  // one a channel of a key, then of a value
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kWarpTaps = kTileTaps / kWarps;

struct Tiles {
  int rows, columns;  // of tiles over a map
  SEGRT_HOST_DEVICE int count() const { return rows * columns; }
};

struct Box {  // pixels, last ones included; empty: first > last
  int first_y, last_y, first_x, last_x;
  SEGRT_DEVICE bool meets(const Box& o) const {
    return first_y <= o.last_y && last_y >= o.first_y && first_x <= o.last_x && last_x >= o.first_x;
  }
};
using BoxWords = Vec<int, 4>;

// Tap `index` (query by query, nine each) of a tile of queries; outside of the map where the query is.
template <typename T>
SEGRT_DEVICE BilinearPoint<float> tile_tap(const T* offset, int n, int head, int tile, int index, const Tiles& tiles,
                                           const AttentionShape& s, int64_t& at) {
  const int query = index / kAttentionTaps, t = index % kAttentionTaps;
  const int y = tile / tiles.columns * kSide + query / kSide, x = tile % tiles.columns * kSide + query % kSide;
  if (y >= s.height || x >= s.width) return {false, 0, 0, 0.0f, 0.0f};
  at = ((static_cast<int64_t>(n) * s.height + y) * s.width + x) * s.heads + head;
  const T* d = offset + at * kTapOffsets + 2 * t;
  return attention_tap(t, to_float(d[0]), to_float(d[1]), y, x, s.height, s.width);
}

// One warp a tile of queries of one head: the smallest box around the pixels that it samples. Reads the offsets.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    deform_attention_boxes_kernel(const T* offset, BoxWords* boxes, AttentionShape s, Tiles tiles) {
  const int64_t task = static_cast<int64_t>(block_index().x) * kWarps + warp_index();
  if (task >= static_cast<int64_t>(s.batch) * s.heads * tiles.count()) return;
  const int tile = static_cast<int>(task % tiles.count()), map = static_cast<int>(task / tiles.count());
  Box box{s.height, -1, s.width, -1};
  for (int index = lane_index(); index < kTileTaps; index += kWarpSize) {
    int64_t at = 0;
    const BilinearPoint<float> point = tile_tap(offset, map / s.heads, map % s.heads, tile, index, tiles, s, at);
    if (!point.inside) continue;
    box.first_y = Min{}(box.first_y, Max{}(point.y, 0));
    box.last_y = Max{}(box.last_y, Min{}(point.y + 1, s.height - 1));
    box.first_x = Min{}(box.first_x, Max{}(point.x, 0));
    box.last_x = Max{}(box.last_x, Min{}(point.x + 1, s.width - 1));
  }
  const BoxWords words{{warp_min(box.first_y), warp_max(box.last_y), warp_min(box.first_x), warp_max(box.last_x)}};
  if (lane_index() == 0) boxes[task] = words;
}

// A tap that reaches a tile of pixels.
struct Entry {
  int query;  // of its tile
  int y, x;   // its upper left corner from the tile's first pixel, -1..7
  float ly, lx;
  float of_key, of_value;  // what its query and its dy are multiplied by
};
struct KeysScratch {
  float sums[kTile][kThreads];
  Entry entries[kWarps][kWarpTaps];
  int counts[kWarps];
};

template <typename T>
struct KeyArguments {
  const T *dy, *qkv, *offset;
  const float *probabilities, *dlogits;
  const BoxWords* boxes;
  T* dqkv;
};

// Fills the warp's list of a tile of queries: of its quarter of the taps, in ascending order, those that reach `box`.
template <typename T>
SEGRT_DEVICE void list_taps(const KeyArguments<T>& a, int n, int head, int tile, const Box& box, const Tiles& tiles,
                            const AttentionShape& s, KeysScratch& scratch) {
  const int warp = warp_index(), lane = lane_index();
  int count = 0;
  for (int first = 0; first < kWarpTaps; first += kWarpSize) {
    const int index = warp * kWarpTaps + first + lane;
    int64_t at = 0;
    BilinearPoint<float> point{false, 0, 0, 0.0f, 0.0f};
    if (first + lane < kWarpTaps) point = tile_tap(a.offset, n, head, tile, index, tiles, s, at);
    const bool reaches = point.inside && box.meets({point.y, point.y + 1, point.x, point.x + 1});
    const unsigned found = warp_ballot(reaches);
    if (reaches) {
      const int64_t tap = at * kAttentionTaps + index % kAttentionTaps;
      scratch.entries[warp][count + std::popcount(found & ((1u << lane) - 1u))] = {
          index / kAttentionTaps,
          point.y - box.first_y,
          point.x - box.first_x,
          point.ly,
          point.lx,
          a.dlogits[tap] * static_cast<float>(kKeyScale),
          a.probabilities[tap]};
    }
    count += std::popcount(found);
  }
  if (lane == 0) scratch.counts[warp] = count;
}

// One block a tile of pixels of one head, one thread a channel of its keys (the first 64) or values: a thread alone
// adds to its channel's sums in shared memory, in the order of the list, so there are no conflicts and one order. Reads
// the boxes of all query tiles, the offsets, probabilities and dlogits of those that reach the tile and, for each query
// that does, its 64 queries and dy; writes the tile's dk and dv once.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    deform_attention_keys_kernel(KeyArguments<T> a, AttentionShape s, Tiles tiles) {
  auto& scratch = block_shared<KeysScratch>();
  const int tile = block_index().x % tiles.count(), map = block_index().x / tiles.count();
  const int n = map / s.heads, head = map % s.heads;
  const int thread = thread_index().x, channel = thread % kHeadWidth;
  const bool is_key = thread < kHeadWidth;
  const int first_y = tile / tiles.columns * kSide, first_x = tile % tiles.columns * kSide;
  const Box box{first_y, Min{}(first_y + kSide, s.height) - 1, first_x, Min{}(first_x + kSide, s.width) - 1};
  const int64_t image = static_cast<int64_t>(n) * s.height * s.width, pitch = int64_t{3} * s.channels();
  // A query's channel, or that of its dy.
  const T* source = is_key ? a.qkv + image * pitch + head * kHeadWidth + channel
                           : a.dy + image * s.channels() + head * kHeadWidth + channel;
  const int64_t source_pitch = is_key ? pitch : s.channels();
  for (int cell = 0; cell < kTile; ++cell) scratch.sums[cell][thread] = 0.0f;

  for (int base = 0; base < tiles.count(); base += kWarpSize) {
    bool reaches = false;
    if (base + lane_index() < tiles.count()) {
      const BoxWords b = a.boxes[static_cast<int64_t>(map) * tiles.count() + base + lane_index()];
      reaches = box.meets({b[0], b[1], b[2], b[3]});
    }
    // All warps vote on the same boxes and so come to the same barriers.
    for (unsigned left = warp_ballot(reaches); left != 0; left &= left - 1) {
      const int query_tile = base + std::countr_zero(left);
      list_taps(a, n, head, query_tile, box, tiles, s, scratch);
      sync_block();
      const int query_y = query_tile / tiles.columns * kSide, query_x = query_tile % tiles.columns * kSide;
      int query = -1;
      float value = 0.0f;
      for (int warp = 0; warp < kWarps; ++warp)
        for (int i = 0; i < scratch.counts[warp]; ++i) {
          const Entry e = scratch.entries[warp][i];
          if (e.query != query) {
            query = e.query;
            value =
                to_float(source[(static_cast<int64_t>(query_y + query / kSide) * s.width + query_x + query % kSide) *
                                source_pitch]);
          }
          const BilinearPoint<float> point{true, e.y, e.x, e.ly, e.lx};
          const float factor = (is_key ? e.of_key : e.of_value) * value;
#pragma unroll
          for (int k = 0; k < 4; ++k)
            if (point.has(k, kSide, kSide))
              scratch.sums[(e.y + k / 2) * kSide + e.x + k % 2][thread] += point.weight(k) * factor;
        }
      sync_block();
    }
  }
  T* out = a.dqkv + image * pitch + (is_key ? 1 : 2) * s.channels() + head * kHeadWidth + channel;
  for (int y = box.first_y; y <= box.last_y; ++y)
    for (int x = box.first_x; x <= box.last_x; ++x)
      out[(static_cast<int64_t>(y) * s.width + x) * pitch] =
          from_float<T>(scratch.sums[(y - box.first_y) * kSide + x - box.first_x][thread]);
}
}  // namespace

void deform_attention_key_gradients(const Tensor& dy, const Tensor& qkv, const Tensor& offset,
                                    const Tensor& probabilities, const Tensor& dlogits, Tensor& dqkv) {
  const AttentionShape s = AttentionShape::of(qkv);
  const Tiles tiles{ceil_div(s.height, kSide), ceil_div(s.width, kSide)};
  const int64_t tasks = int64_t{s.batch} * s.heads * tiles.count();
  const Tensor boxes = Tensor::empty({tasks, 4}, DType::i32, qkv.device());
  auto* words = reinterpret_cast<BoxWords*>(boxes.data<int32_t>());
  dispatch_float(qkv.dtype(), [&]<typename T>() {
    launch(qkv.device(), deform_attention_boxes_kernel<T>, {.grid = blocks_for(tasks, kWarps), .block = kThreads},
           offset.data<T>(), words, s, tiles);
    const KeyArguments<T> arguments{dy.data<T>(),          qkv.data<T>(), offset.data<T>(), probabilities.data<float>(),
                                    dlogits.data<float>(), words,         dqkv.data<T>()};
    launch(qkv.device(), deform_attention_keys_kernel<T>, {.grid = tasks, .block = kThreads}, arguments, s, tiles);
  });
}

}  // namespace segrt::kernels::cuda
