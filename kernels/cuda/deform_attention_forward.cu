#include "kernels/cuda/attention_rows.cuh"
#include "kernels/cuda/deform_attention.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

// Half a warp a query and head (attention_rows.cuh). Reads its offsets, query and height logits once, nine rows of the
// width table and up to 36 rows each of keys and values, which neighbours share through L1 and L2; writes y and, where
// wanted, the nine probabilities.
template <typename T>
__global__ void __launch_bounds__(kAttentionBlock)
    deform_attention_kernel(const T* qkv, const T* offset, const float* rel_width, const float* height_logits, T* y,
                            float* probabilities, AttentionShape s) {
  const GroupItem item = group_item(s.pixels() * s.heads);
  if (item.warp_idle) return;
  const HeadPlace h = head_place(item.at, s);
  const int64_t pitch = int64_t{3} * s.channels();
  const T* keys = qkv + h.image * pitch + s.channels() + h.head * kHeadWidth;
  const T* values = keys + s.channels();
  const int t_own = group_lane();
  const BilinearPoint<float> own = lane_tap(offset + item.at * kTapOffsets, h.y, h.x, s);

  // Logits: products are summed over lanes for all taps at once.
  const Quad q = load_quad(qkv + h.pixel * pitch + h.head * kHeadWidth);
  const float* window = rel_width + static_cast<int64_t>(s.width - 1 - h.x) * kHeadWidth;
  float products[kGroupLanes] = {};
  Quad corners[4];
#pragma unroll
  for (int t = 0; t < kAttentionTaps; ++t) {
    const BilinearPoint<float> point = shuffle_tap(own, t);
    load_corners(keys, pitch, point, s, corners);
    Quad key = load_quad(window + t * kHeadWidth);
#pragma unroll
    for (int k = 0; k < 4; ++k) add_scaled(key, point.weight(k) * static_cast<float>(kKeyScale), corners[k]);
    products[t] = dot(q, key);
  }
  const float product = group_sums(products);

  // Softmax over lanes; those without a tap take no part.
  const bool has_tap = t_own < kAttentionTaps;
  const float logit = has_tap ? product + height_logits[item.at * kAttentionTaps + t_own] : -FLT_MAX;
  const float largest = group_reduce(logit, Max{});
  const float e = has_tap ? expf(logit - largest) : 0.0f;
  const float p = e / group_reduce(e, Add{});
  if (probabilities != nullptr && has_tap && item.stores) probabilities[item.at * kAttentionTaps + t_own] = p;

  Quad out{};
#pragma unroll
  for (int t = 0; t < kAttentionTaps; ++t) {
    const BilinearPoint<float> point = shuffle_tap(own, t);
    const float share = warp_shuffle(p, group_base() + t);
    load_corners(values, pitch, point, s, corners);
#pragma unroll
    for (int k = 0; k < 4; ++k) add_scaled(out, share * point.weight(k), corners[k]);
  }
  if (item.stores) store_quad(y + item.at * kHeadWidth, out);
}
}  // namespace

void deform_attention_forward(const Tensor& qkv, const Tensor& offset, const Tensor& rel_width,
                              const Tensor& height_logits, Tensor& y, Tensor* probabilities) {
  const AttentionShape s = AttentionShape::of(qkv);
  dispatch_float(qkv.dtype(), [&]<typename T>() {
    launch(qkv.device(), deform_attention_kernel<T>,
           {.grid = blocks_for(s.pixels() * s.heads, kBlockGroups), .block = kAttentionBlock}, qkv.data<T>(),
           offset.data<T>(), rel_width.data<float>(), height_logits.data<float>(), y.data<T>(),
           probabilities != nullptr ? probabilities->data<float>() : nullptr, s);
  });
}

}  // namespace segrt::kernels::cuda
