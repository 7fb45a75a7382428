#include <algorithm>

#include "core/parallel.h"
#include "kernels/cpu/attention_rows.h"
#include "kernels/cpu/deform_attention.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {

template <typename A>
void softmax(A* logits) {
  const A largest = *std::max_element(logits, logits + kAttentionTaps);
  for (int t = 0; t < kAttentionTaps; ++t) logits[t] -= largest;
  exp_in_place(logits, kAttentionTaps);
  A sum = 0;
  for (int t = 0; t < kAttentionTaps; ++t) sum += logits[t];
  for (int t = 0; t < kAttentionTaps; ++t) logits[t] /= sum;
}

// One head of one query: `p` holds the height logits, then the probabilities; y [64].
template <typename T, typename A>
void attend(const A* q, const HeadMap<T>& keys, const HeadMap<T>& values, const BilinearPoint<A>* points,
            const A* width_window, A* p, A* y) {
  CornerRows<T> rows;
  for (int t = 0; t < kAttentionTaps; ++t) {
    rows.load(keys, points[t]);
    A weight[4];
    for (int k = 0; k < 4; ++k) weight[k] = points[t].weight(k) * static_cast<A>(kKeyScale);
    Lanes<A> sums{};
    for (int v = 0; v < kHeadVectors<A>; ++v) {
      Lanes<A> key = load(width_window + t * kHeadWidth + v * kLanes<A>);
      for (int k = 0; k < 4; ++k) key += weight[k] * rows.vector(k, v);
      sums += load(q + v * kLanes<A>) * key;
    }
    p[t] += reduce_sum<A>(sums);
  }
  softmax(p);
  Lanes<A> out[kHeadVectors<A>] = {};
  for (int t = 0; t < kAttentionTaps; ++t) {
    rows.load(values, points[t]);
    A weight[4];
    for (int k = 0; k < 4; ++k) weight[k] = points[t].weight(k) * p[t];
    for (int v = 0; v < kHeadVectors<A>; ++v)
      for (int k = 0; k < 4; ++k) out[v] += weight[k] * rows.vector(k, v);
  }
  for (int v = 0; v < kHeadVectors<A>; ++v) store(y + v * kLanes<A>, out[v]);
}
}  // namespace

// A task is one row of queries of one head: the rows of keys and values that it reads then stay in the cache.
void deform_attention_forward(const Tensor& qkv, const Tensor& offset, const Tensor& rel_width,
                              const Tensor& height_logits, Tensor& y, Tensor* probabilities) {
  const AttentionShape s = AttentionShape::of(qkv);
  const int64_t channels = s.channels(), pitch = 3 * channels;
  dispatch_real(qkv.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    parallel_for(int64_t{s.batch} * s.heads * s.height, [&](int64_t task) {
      const int row = static_cast<int>(task % s.height);
      const int64_t j = task / s.height % s.heads, n = task / s.height / s.heads;
      const T* image = qkv.data<T>() + n * s.height * s.width * pitch + j * kHeadWidth;
      const HeadMap<T> keys{image + channels, pitch, s.height, s.width};
      const HeadMap<T> values{image + 2 * channels, pitch, s.height, s.width};
      A query_room[kHeadWidth], out[kHeadWidth], p[kAttentionTaps];
      BilinearPoint<A> points[kAttentionTaps];
      for (int x = 0; x < s.width; ++x) {
        const int64_t pixel = int64_t{row} * s.width + x, at = (n * s.height * s.width + pixel) * s.heads + j;
        const A* q = widened(image + pixel * pitch, kHeadWidth, query_room);
        for (int t = 0; t < kAttentionTaps; ++t)
          points[t] = attention_tap(offset.data<T>() + at * kTapOffsets, t, row, x, s);
        std::copy_n(height_logits.data<A>() + at * kAttentionTaps, kAttentionTaps, p);
        attend(q, keys, values, points, rel_width.data<A>() + (s.width - 1 - x) * kHeadWidth, p, out);
        narrow(out, y.data<T>() + at * kHeadWidth, kHeadWidth);
        if (probabilities != nullptr) std::copy_n(p, kAttentionTaps, probabilities->data<A>() + at * kAttentionTaps);
      }
    });
  });
}

}  // namespace segrt::kernels::cpu
