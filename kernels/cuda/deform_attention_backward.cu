#include "kernels/cuda/attention_rows.cuh"
#include "kernels/cuda/deform_attention.h"
#include "kernels/cuda/deform_attention_keys.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

template <typename T>
struct QueryArguments {
  const T *dy, *qkv, *offset;
  const float *rel_width, *probabilities;
  T *dqkv, *doffset;
  float* dlogits;
};

// What belongs to a query: half a warp a query and head, as forward. Samples values, then keys, both again, for the
// gradients of logits, offsets and the query (but for the height term); the products with samples and with their slopes
// along y and x are summed over lanes for all taps at once.
template <typename T>
__global__ void __launch_bounds__(kAttentionBlock)
    deform_attention_query_kernel(QueryArguments<T> a, AttentionShape s) {
  const GroupItem item = group_item(s.pixels() * s.heads);
  if (item.warp_idle) return;
  const HeadPlace h = head_place(item.at, s);
  const int64_t pitch = int64_t{3} * s.channels();
  const T* keys = a.qkv + h.image * pitch + s.channels() + h.head * kHeadWidth;
  const T* values = keys + s.channels();
  const int t_own = group_lane();
  const bool has_tap = t_own < kAttentionTaps;
  const BilinearPoint<float> own = lane_tap(a.offset + item.at * kTapOffsets, h.y, h.x, s);

  Quad corners[4];
  float of_value[kGroupLanes] = {}, value_y[kGroupLanes] = {}, value_x[kGroupLanes] = {};
  const Quad dy = load_quad(a.dy + item.at * kHeadWidth);
#pragma unroll
  for (int t = 0; t < kAttentionTaps; ++t) {
    const BilinearPoint<float> point = shuffle_tap(own, t);
    load_corners(values, pitch, point, s, corners);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float product = dot(dy, corners[k]);
      of_value[t] += point.weight(k) * product;
      value_y[t] += point.slope_y(k) * product;
      value_x[t] += point.slope_x(k) * product;
    }
  }
  const float dp = group_sums(of_value), dvalue_y = group_sums(value_y), dvalue_x = group_sums(value_x);
  const float p = has_tap ? a.probabilities[item.at * kAttentionTaps + t_own] : 0.0f;
  const float dlogit = p * (dp - group_reduce(p * dp, Add{}));

  float key_y[kGroupLanes] = {}, key_x[kGroupLanes] = {};
  const Quad q = load_quad(a.qkv + h.pixel * pitch + h.head * kHeadWidth);
  const float* window = a.rel_width + static_cast<int64_t>(s.width - 1 - h.x) * kHeadWidth;
  Quad dq{};
#pragma unroll
  for (int t = 0; t < kAttentionTaps; ++t) {
    const BilinearPoint<float> point = shuffle_tap(own, t);
    const float dl = warp_shuffle(dlogit, group_base() + t), scaled = dl * static_cast<float>(kKeyScale);
    load_corners(keys, pitch, point, s, corners);
    add_scaled(dq, dl, load_quad(window + t * kHeadWidth));
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float product = dot(q, corners[k]);
      key_y[t] += point.slope_y(k) * product;
      key_x[t] += point.slope_x(k) * product;
      add_scaled(dq, scaled * point.weight(k), corners[k]);
    }
  }
  const float dkey_y = group_sums(key_y), dkey_x = group_sums(key_x);
  if (!item.stores) return;
  store_quad(a.dqkv + h.pixel * pitch + h.head * kHeadWidth, dq);
  if (!has_tap) return;
  const float scaled = dlogit * static_cast<float>(kKeyScale);
  a.dlogits[item.at * kAttentionTaps + t_own] = dlogit;
  store_vec(a.doffset + item.at * kTapOffsets + 2 * t_own,
            Vec<T, 2>{{from_float<T>(scaled * dkey_y + p * dvalue_y), from_float<T>(scaled * dkey_x + p * dvalue_x)}});
}
}  // namespace

void deform_attention_backward(const Tensor& dy, const Tensor& qkv, const Tensor& offset, const Tensor& rel_width,
                               const Tensor& probabilities, Tensor& dqkv, Tensor& doffset, Tensor& dlogits) {
  const AttentionShape s = AttentionShape::of(qkv);
  dispatch_float(qkv.dtype(), [&]<typename T>() {
    const QueryArguments<T> arguments{
        dy.data<T>(),   qkv.data<T>(),     offset.data<T>(),     rel_width.data<float>(), probabilities.data<float>(),
        dqkv.data<T>(), doffset.data<T>(), dlogits.data<float>()};
    launch(qkv.device(), deform_attention_query_kernel<T>,
           {.grid = blocks_for(s.pixels() * s.heads, kBlockGroups), .block = kAttentionBlock}, arguments, s);
  });
  deform_attention_key_gradients(dy, qkv, offset, probabilities, dlogits, dqkv);
}

}  // namespace segrt::kernels::cuda
