#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/attention_rows.h"
#include "kernels/cpu/deform_attention.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {

// The four products of x [64] with the corners of a point.
template <typename T, typename A>
void corner_products(const A* x, const CornerRows<T>& rows, A* products) {
  Lanes<A> sums[4] = {};
  for (int v = 0; v < kHeadVectors<A>; ++v)
    for (int k = 0; k < 4; ++k) sums[k] += load(x + v * kLanes<A>) * rows.vector(k, v);
  for (int k = 0; k < 4; ++k) products[k] = reduce_sum<A>(sums[k]);
}

// One head of one query: gradients of its query (but for the height term), offsets and logits, all written.
template <typename T, typename A>
void query_gradients(const A* q, const A* dy, const HeadMap<T>& keys, const HeadMap<T>& values,
                     const BilinearPoint<A>* points, const A* width_window, const A* p, A* dq, A* doffset, A* dlogits) {
  CornerRows<T> rows;
  A of_value[kAttentionTaps][4];  // dy . V at the corners
  A mean = 0;                     // of dy . V(s[t]) under the probabilities
  for (int t = 0; t < kAttentionTaps; ++t) {
    rows.load(values, points[t]);
    corner_products(dy, rows, of_value[t]);
    dlogits[t] = 0;
    for (int k = 0; k < 4; ++k) dlogits[t] += points[t].weight(k) * of_value[t][k];
    mean += p[t] * dlogits[t];
  }
  Lanes<A> sums[kHeadVectors<A>] = {};
  for (int t = 0; t < kAttentionTaps; ++t) {
    dlogits[t] = p[t] * (dlogits[t] - mean);
    rows.load(keys, points[t]);
    A of_key[4], weight[4];
    corner_products(q, rows, of_key);
    A dpy = 0, dpx = 0;
    for (int k = 0; k < 4; ++k) {
      const A dcorner = dlogits[t] * static_cast<A>(kKeyScale) * of_key[k] + p[t] * of_value[t][k];
      dpy += points[t].slope_y(k) * dcorner;
      dpx += points[t].slope_x(k) * dcorner;
      weight[k] = dlogits[t] * static_cast<A>(kKeyScale) * points[t].weight(k);
    }
    doffset[2 * t] = dpy;
    doffset[2 * t + 1] = dpx;
    for (int v = 0; v < kHeadVectors<A>; ++v) {
      sums[v] += dlogits[t] * load(width_window + t * kHeadWidth + v * kLanes<A>);
      for (int k = 0; k < 4; ++k) sums[v] += weight[k] * rows.vector(k, v);
    }
  }
  for (int v = 0; v < kHeadVectors<A>; ++v) store(dq + v * kLanes<A>, sums[v]);
}

// Rows of the map that a row of queries samples, last one included; none: first > last.
struct RowRange {
  int first, last;
  template <typename A>
  void add(const BilinearPoint<A>& point, int height) {
    if (!point.inside) return;
    first = std::min(first, std::max(point.y, 0));
    last = std::max(last, std::min(point.y + 1, height - 1));
  }
};

struct Gradients {
  const Tensor &dy, &qkv, &offset, &rel_width, &probabilities;
  Tensor &dqkv, &doffset, &dlogits;
  AttentionShape s;
};

// First pass: what belongs to the queries of one row of one head. Returns the rows that it samples.
template <typename T>
RowRange query_row(const Gradients& g, int64_t n, int64_t j, int row) {
  using A = accumulator_t<T>;
  const AttentionShape& s = g.s;
  const int64_t channels = s.channels(), pitch = 3 * channels, first = n * s.height * s.width;
  const T* image = g.qkv.data<T>() + first * pitch + j * kHeadWidth;
  const HeadMap<T> keys{image + channels, pitch, s.height, s.width};
  const HeadMap<T> values{image + 2 * channels, pitch, s.height, s.width};
  A query_room[kHeadWidth], dy_room[kHeadWidth], dq[kHeadWidth], doffset[kTapOffsets];
  BilinearPoint<A> points[kAttentionTaps];
  RowRange range{s.height, -1};
  for (int x = 0; x < s.width; ++x) {
    const int64_t pixel = int64_t{row} * s.width + x, at = (first + pixel) * s.heads + j;
    for (int t = 0; t < kAttentionTaps; ++t) {
      points[t] = attention_tap(g.offset.data<T>() + at * kTapOffsets, t, row, x, s);
      range.add(points[t], s.height);
    }
    query_gradients(widened(image + pixel * pitch, kHeadWidth, query_room),
                    widened(g.dy.data<T>() + at * kHeadWidth, kHeadWidth, dy_room), keys, values, points,
                    g.rel_width.data<A>() + (s.width - 1 - x) * kHeadWidth,
                    g.probabilities.data<A>() + at * kAttentionTaps, dq, doffset,
                    g.dlogits.data<A>() + at * kAttentionTaps);
    narrow(dq, g.dqkv.data<T>() + (first + pixel) * pitch + j * kHeadWidth, kHeadWidth);
    narrow(doffset, g.doffset.data<T>() + at * kTapOffsets, kTapOffsets);
  }
  return range;
}

// A band of rows of one head's map in the second pass, which alone adds to their keys' and values' gradients.
template <typename T>
class Band {
 public:
  using A = accumulator_t<T>;

  Band(const Gradients& g, int64_t n, int64_t j, int begin, int end)
      : g_(g),
        n_(n),
        j_(j),
        begin_(begin),
        end_(end),
        sums_(static_cast<size_t>((end - begin) * g.s.width * 2 * kHeadWidth)) {}

  // What the queries of a row pass on to the band.
  void add(int row) {
    const AttentionShape& s = g_.s;
    for (int x = 0; x < s.width; ++x) {
      const int64_t pixel = (n_ * s.height + row) * s.width + x, at = pixel * s.heads + j_;
      const T* offsets = g_.offset.data<T>() + at * kTapOffsets;
      const A *q = nullptr, *dy = nullptr;
      for (int t = 0; t < kAttentionTaps; ++t) {
        const BilinearPoint<A> point = attention_tap(offsets, t, row, x, s);
        if (!point.inside || point.y + 1 < begin_ || point.y >= end_) continue;
        if (q == nullptr) {
          q = widened(g_.qkv.data<T>() + pixel * 3 * s.channels() + j_ * kHeadWidth, kHeadWidth, query_room_);
          dy = widened(g_.dy.data<T>() + at * kHeadWidth, kHeadWidth, dy_room_);
        }
        const A of_key = g_.dlogits.data<A>()[at * kAttentionTaps + t] * static_cast<A>(kKeyScale);
        const A of_value = g_.probabilities.data<A>()[at * kAttentionTaps + t];
        for (int k = 0; k < 4; ++k) {
          const int y = point.y + k / 2;
          if (y < begin_ || y >= end_ || !point.has(k, s.height, s.width)) continue;
          add_scaled(of_key * point.weight(k), q, of_value * point.weight(k), dy, cell(y, point.x + k % 2));
        }
      }
    }
  }

  void write() {
    const AttentionShape& s = g_.s;
    for (int y = begin_; y < end_; ++y)
      for (int x = 0; x < s.width; ++x) {
        const int64_t pixel = (n_ * s.height + y) * s.width + x;
        T* dk = g_.dqkv.data<T>() + pixel * 3 * s.channels() + s.channels() + j_ * kHeadWidth;
        narrow(cell(y, x), dk, kHeadWidth);
        narrow(cell(y, x) + kHeadWidth, dk + s.channels(), kHeadWidth);
      }
  }

 private:
  A* cell(int y, int x) { return sums_.data() + (int64_t{y - begin_} * g_.s.width + x) * 2 * kHeadWidth; }
  static void add_scaled(A a, const A* q, A b, const A* dy, A* cell) {
    for (int c = 0; c < kHeadWidth; c += kLanes<A>) {
      store(cell + c, load(cell + c) + a * load(q + c));
      store(cell + kHeadWidth + c, load(cell + kHeadWidth + c) + b * load(dy + c));
    }
  }

  const Gradients& g_;
  int64_t n_, j_;
  int begin_, end_;
  std::vector<A> sums_;  // [rows, W, 2, 64]: of keys, of values
  A query_room_[kHeadWidth], dy_room_[kHeadWidth];
};

// Rows of a band: its sums stay in the second-level cache.
int band_rows(const AttentionShape& s, size_t element) {
  constexpr int64_t kBytes = 512 * 1024;
  const int64_t row = int64_t{s.width} * 2 * kHeadWidth * static_cast<int64_t>(element);
  return static_cast<int>(std::clamp<int64_t>(kBytes / row, 2, s.height > 2 ? s.height : 2));
}
}  // namespace

// Offsets are unbounded, so any query may add to any pixel. The first pass, over rows of queries, notes which rows of
// the map each of them samples; in the second every task owns a band of the map and takes, in ascending order, the rows
// of queries that reach it. No order depends on threads.
void deform_attention_backward(const Tensor& dy, const Tensor& qkv, const Tensor& offset, const Tensor& rel_width,
                               const Tensor& probabilities, Tensor& dqkv, Tensor& doffset, Tensor& dlogits) {
  const AttentionShape s = AttentionShape::of(qkv);
  const Gradients g{dy, qkv, offset, rel_width, probabilities, dqkv, doffset, dlogits, s};
  dispatch_real(qkv.dtype(), [&]<typename T>() {
    const int64_t maps = int64_t{s.batch} * s.heads;
    std::vector<RowRange> ranges(static_cast<size_t>(maps * s.height));
    parallel_for(maps * s.height, [&](int64_t task) {
      const int64_t map = task / s.height;
      ranges[static_cast<size_t>(task)] =
          query_row<T>(g, map / s.heads, map % s.heads, static_cast<int>(task % s.height));
    });
    const int rows = band_rows(s, sizeof(accumulator_t<T>)), bands = (s.height + rows - 1) / rows;
    parallel_for(maps * bands, [&](int64_t task) {
      const int64_t map = task / bands;
      const int begin = static_cast<int>(task % bands) * rows, end = std::min(begin + rows, s.height);
      Band<T> band(g, map / s.heads, map % s.heads, begin, end);
      for (int row = 0; row < s.height; ++row) {
        const RowRange& range = ranges[static_cast<size_t>(map * s.height + row)];
        if (range.first < end && range.last >= begin) band.add(row);
      }
      band.write();
    });
  });
}

}  // namespace segrt::kernels::cpu
