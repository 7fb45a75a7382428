#include "bench/unfolded_samples.h"

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/cpu/attention_rows.h"

namespace segrt::bench {
namespace {
using kernels::kAttentionTaps;
using kernels::kHeadWidth;
using kernels::kTapOffsets;
using namespace kernels::cpu;
using Point = kernels::BilinearPoint<float>;

// f(query, tap, point, its head's map in x) for the queries of one row of one head.
template <typename F>
void for_row(const kernels::AttentionShape& s, const Tensor& x, const Tensor& offset, int64_t n, int64_t head, int row,
             const F& f) {
  const HeadMap<float> map{x.data<float>() + n * s.height * s.width * s.channels() + head * kHeadWidth, s.channels(),
                           s.height, s.width};
  for (int column = 0; column < s.width; ++column) {
    const int64_t query = ((n * s.height + row) * s.width + column) * s.heads + head;
    for (int t = 0; t < kAttentionTaps; ++t)
      f(query, t, attention_tap(offset.data<float>() + query * kTapOffsets, t, row, column, s), map);
  }
}

void unfold(const kernels::AttentionShape& s, const Tensor& x, const Tensor& offset, Tensor& y) {
  parallel_for(int64_t{s.batch} * s.heads * s.height, [&](int64_t task) {
    CornerRows<float> rows;
    for_row(s, x, offset, task / s.height / s.heads, task / s.height % s.heads, static_cast<int>(task % s.height),
            [&](int64_t query, int t, const Point& point, const HeadMap<float>& map) {
              rows.load(map, point);
              float* out = y.data<float>() + (query * kAttentionTaps + t) * kHeadWidth;
              for (int v = 0; v < kHeadVectors<float>; ++v) {
                Lanes<float> sum{};
                for (int k = 0; k < 4; ++k) sum += point.weight(k) * rows.vector(k, v);
                store(out + v * kLanes<float>, sum);
              }
            });
  });
}

void unfold_backward(const kernels::AttentionShape& s, const Tensor& dy, const Tensor& x, const Tensor& offset,
                     Tensor& dx, Tensor& doffset) {
  parallel_for(int64_t{s.batch} * s.heads * s.height, [&](int64_t task) {  // slopes
    CornerRows<float> rows;
    for_row(s, x, offset, task / s.height / s.heads, task / s.height % s.heads, static_cast<int>(task % s.height),
            [&](int64_t query, int t, const Point& point, const HeadMap<float>& map) {
              rows.load(map, point);
              const float* d = dy.data<float>() + (query * kAttentionTaps + t) * kHeadWidth;
              Lanes<float> along_y{}, along_x{};
              for (int v = 0; v < kHeadVectors<float>; ++v)
                for (int k = 0; k < 4; ++k) {
                  const Lanes<float> product = load(d + v * kLanes<float>) * rows.vector(k, v);
                  along_y += point.slope_y(k) * product;
                  along_x += point.slope_x(k) * product;
                }
              doffset.data<float>()[query * kTapOffsets + 2 * t] = reduce_sum<float>(along_y);
              doffset.data<float>()[query * kTapOffsets + 2 * t + 1] = reduce_sum<float>(along_x);
            });
  });
  // A task owns a vector of channels of one head, and so all that adds to them.
  dx.fill_zero();
  parallel_for(int64_t{s.batch} * s.heads * kHeadVectors<float>, [&](int64_t task) {
    const int64_t head = task / kHeadVectors<float> % s.heads, n = task / kHeadVectors<float> / s.heads;
    const int64_t first = task % kHeadVectors<float> * kLanes<float>;
    float* image = dx.data<float>() + n * s.height * s.width * s.channels() + head * kHeadWidth + first;
    for (int row = 0; row < s.height; ++row)
      for_row(s, x, offset, n, head, row, [&](int64_t query, int t, const Point& point, const HeadMap<float>&) {
        const Lanes<float> d = load(dy.data<float>() + (query * kAttentionTaps + t) * kHeadWidth + first);
        for (int k = 0; k < 4; ++k) {
          if (!point.has(k, s.height, s.width)) continue;
          float* cell = image + (int64_t{point.y + k / 2} * s.width + point.x + k % 2) * s.channels();
          store(cell, load(cell) + point.weight(k) * d);
        }
      });
  });
}
}  // namespace

Var unfold_samples(const Var& x, const Var& offset, int heads) {
  if (!x.device().is_cpu() || x.dtype() != DType::f32)
    throw ArgumentError("unfold_samples: expected f32 on a CPU, got " + describe(x.value()));
  const kernels::AttentionShape s{static_cast<int>(x.dim(0)), static_cast<int>(x.dim(1)), static_cast<int>(x.dim(2)),
                                  heads};
  Tensor y = Tensor::empty({s.pixels() * heads, kAttentionTaps, kHeadWidth}, x.dtype(), x.device());
  unfold(s, x.value(), offset.value(), y);
  return record("unfold_samples", {x, offset}, y,
                [s, x = x.value(), offset = offset.value()](const Tensor& dy) -> Grads {
                  Tensor dx = Tensor::like(x), doffset = Tensor::like(offset);
                  unfold_backward(s, dy, x, offset, dx, doffset);
                  return {dx, doffset};
                });
}

}  // namespace segrt::bench
