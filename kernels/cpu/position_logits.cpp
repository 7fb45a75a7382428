#include "kernels/cpu/position_logits.h"

#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/attention_rows.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {

void height_logits_forward(const Tensor& qkv, const Tensor& rel_height, Tensor& logits) {
  const AttentionShape s = AttentionShape::of(qkv);
  const int64_t pitch = qkv.dim(3), taps = int64_t{s.heads} * kAttentionTaps;
  dispatch_real(qkv.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    parallel_for(int64_t{s.batch} * s.height, [&](int64_t row) {  // rows of the map: columns of the logits
      const int64_t n = row / s.height, y = row % s.height;
      const A* window = rel_height.data<A>() + (s.height - 1 - y) * kHeadWidth;
      A buffer[kHeadWidth];
      for (int64_t x = 0; x < s.width; ++x)
        for (int j = 0; j < s.heads; ++j) {
          const A* q = widened(qkv.data<T>() + (row * s.width + x) * pitch + j * kHeadWidth, kHeadWidth, buffer);
          A* out = logits.data<A>() + ((n * s.width + x) * s.height + y) * taps + j * kAttentionTaps;
          for (int t = 0; t < kAttentionTaps; ++t) out[t] = row_dot(q, window + t * kHeadWidth, kHeadWidth);
        }
    });
  });
}

void height_logits_backward(const Tensor& dlogits, const Tensor& rel_height, Tensor& dqkv) {
  const AttentionShape s = AttentionShape::of(dqkv);
  const int64_t pitch = dqkv.dim(3), taps = int64_t{s.heads} * kAttentionTaps;
  dispatch_real(dqkv.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    parallel_for(int64_t{s.batch} * s.height, [&](int64_t row) {
      const int64_t n = row / s.height, y = row % s.height;
      const A* window = rel_height.data<A>() + (s.height - 1 - y) * kHeadWidth;
      for (int64_t x = 0; x < s.width; ++x)
        for (int j = 0; j < s.heads; ++j) {
          T* dq = dqkv.data<T>() + (row * s.width + x) * pitch + j * kHeadWidth;
          const A* d = dlogits.data<A>() + ((n * s.width + x) * s.height + y) * taps + j * kAttentionTaps;
          A sums[kHeadWidth];
          widen(dq, sums, kHeadWidth);
          for (int t = 0; t < kAttentionTaps; ++t)
            for (int c = 0; c < kHeadWidth; ++c) sums[c] += d[t] * window[t * kHeadWidth + c];
          narrow(sums, dq, kHeadWidth);
        }
    });
  });
}

// Two levels: sums for every image and position along the axis, over the other axis and the heads; then a table's row
// takes those of the positions whose window it is in.
void position_table_backward(const Tensor& qkv, const Tensor& dlogits, PositionAxis axis, Tensor& dtable) {
  const AttentionShape s = AttentionShape::of(qkv);
  const int64_t pitch = qkv.dim(3), taps = int64_t{s.heads} * kAttentionTaps;
  const bool high = axis == PositionAxis::height;
  const int64_t positions = high ? s.height : s.width, others = high ? s.width : s.height;
  constexpr int64_t kWindow = kAttentionTaps * kHeadWidth;
  dispatch_real(qkv.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    std::vector<A> partial(static_cast<size_t>(s.batch * positions * kWindow));  // [N,positions,9,64], zeros
    parallel_for(s.batch * positions, [&](int64_t task) {
      const int64_t n = task / positions, p = task % positions;
      A* sums = partial.data() + task * kWindow;
      A buffer[kHeadWidth];
      for (int64_t other = 0; other < others; ++other) {
        const int64_t pixel = (n * s.height + (high ? p : other)) * s.width + (high ? other : p);
        for (int j = 0; j < s.heads; ++j) {
          const A* q = widened(qkv.data<T>() + pixel * pitch + j * kHeadWidth, kHeadWidth, buffer);
          const A* d = dlogits.data<A>() + ((n * others + other) * positions + p) * taps + j * kAttentionTaps;
          for (int t = 0; t < kAttentionTaps; ++t)
            for (int c = 0; c < kHeadWidth; ++c) sums[t * kHeadWidth + c] += d[t] * q[c];
        }
      }
    });
    parallel_for(positions + 8, [&](int64_t r) {
      A sums[kHeadWidth] = {};
      for (int64_t n = 0; n < s.batch; ++n)
        for (int t = 0; t < kAttentionTaps; ++t) {
          const int64_t p = positions - 1 + t - r;
          if (p < 0 || p >= positions) continue;
          const A* from = partial.data() + (n * positions + p) * kWindow + t * kHeadWidth;
          for (int c = 0; c < kHeadWidth; ++c) sums[c] += from[c];
        }
      narrow(sums, dtable.data<A>() + r * kHeadWidth, kHeadWidth);
    });
  });
}

}  // namespace segrt::kernels::cpu
