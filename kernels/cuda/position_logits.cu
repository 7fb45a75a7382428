#include "kernels/cuda/position_logits.h"

#include "kernels/cuda/attention_rows.cuh"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

// Element of [N,W,H,heads*9] at which a head's nine logits begin.
SEGRT_DEVICE int64_t transposed_place(const HeadPlace& h, const AttentionShape& s) {
  return (((static_cast<int64_t>(h.n) * s.width + h.x) * s.height + h.y) * s.heads + h.head) * kAttentionTaps;
}
SEGRT_DEVICE const float* height_window(const float* rel_height, const HeadPlace& h, const AttentionShape& s) {
  return rel_height + static_cast<int64_t>(s.height - 1 - h.y) * kHeadWidth;
}

// Half a warp a pixel and head (attention_rows.cuh). Reads its query and nine rows of the table, which all pixels of a
// row share; lane t writes logit t.
template <typename T>
__global__ void __launch_bounds__(kAttentionBlock)
    height_logits_kernel(const T* qkv, const float* rel_height, float* logits, AttentionShape s) {
  const GroupItem item = group_item(s.pixels() * s.heads);
  if (item.warp_idle) return;
  const HeadPlace h = head_place(item.at, s);
  const Quad q = load_quad(qkv + h.pixel * 3 * s.channels() + h.head * kHeadWidth);
  const float* window = height_window(rel_height, h, s);
  float products[kGroupLanes] = {};
#pragma unroll
  for (int t = 0; t < kAttentionTaps; ++t) products[t] = dot(q, load_quad(window + t * kHeadWidth));
  const float logit = group_sums(products);
  if (item.stores && group_lane() < kAttentionTaps) logits[transposed_place(h, s) + group_lane()] = logit;
}

// The same threads. Reads nine gradients and nine rows of the table; adds to four channels a thread of dq.
template <typename T>
__global__ void __launch_bounds__(kAttentionBlock)
    height_logits_backward_kernel(const float* dlogits, const float* rel_height, T* dqkv, AttentionShape s) {
  const GroupItem item = group_item(s.pixels() * s.heads);
  if (!item.stores) return;
  const HeadPlace h = head_place(item.at, s);
  const float* d = dlogits + transposed_place(h, s);
  const float* window = height_window(rel_height, h, s);
  T* dq_place = dqkv + h.pixel * 3 * s.channels() + h.head * kHeadWidth;
  Quad dq = load_quad(dq_place);
#pragma unroll
  for (int t = 0; t < kAttentionTaps; ++t) add_scaled(dq, d[t], load_quad(window + t * kHeadWidth));
  store_quad(dq_place, dq);
}

constexpr int kSlices = 4;  // of the pixels that a block sums over
constexpr int kTableThreads = kSlices * kHeadWidth;

struct TableScratch {
  float sums[kSlices][kAttentionTaps][kHeadWidth];
};
// The axis that a table goes along: `positions` of it, `others` across. Pixel (n, p, other) for the height, where p is
// the row, (n, other, p) for the width; logits are [N,others,positions,heads*9] either way.
struct TableAxis {
  bool high;
  int positions, others;
};

// One block an image and position, one thread a channel of one in four pixels and heads: nine sums in registers, then
// over the four slices in order. Reads the queries of a row or column of pixels and their dlogits once; writes partial
// [N,positions,9,64].
template <typename T>
__global__ void __launch_bounds__(kTableThreads)
    position_table_partial_kernel(const T* qkv, const float* dlogits, float* partial, AttentionShape s,
                                  TableAxis axis) {
  auto& scratch = block_shared<TableScratch>();
  const int channel = thread_index().x % kHeadWidth, slice = thread_index().x / kHeadWidth;
  const int p = block_index().x % axis.positions, n = block_index().x / axis.positions;
  float sums[kAttentionTaps] = {};
  for (int i = slice; i < axis.others * s.heads; i += kSlices) {
    const int other = i / s.heads, head = i % s.heads;
    const int64_t row = static_cast<int64_t>(n) * s.height + (axis.high ? p : other);
    const int64_t pixel = row * s.width + (axis.high ? other : p);
    const float q = to_float(qkv[pixel * 3 * s.channels() + head * kHeadWidth + channel]);
    const int64_t place = (static_cast<int64_t>(n) * axis.others + other) * axis.positions + p;
    const float* d = dlogits + (place * s.heads + head) * kAttentionTaps;
#pragma unroll
    for (int t = 0; t < kAttentionTaps; ++t) sums[t] += d[t] * q;
  }
#pragma unroll
  for (int t = 0; t < kAttentionTaps; ++t) scratch.sums[slice][t][channel] = sums[t];
  sync_block();
  for (int t = slice; t < kAttentionTaps; t += kSlices) {
    float total = 0.0f;
    for (int k = 0; k < kSlices; ++k) total += scratch.sums[k][t][channel];
    partial[(static_cast<int64_t>(block_index().x) * kAttentionTaps + t) * kHeadWidth + channel] = total;
  }
}

// One thread an element of the table: over images and the nine taps at which some position reads its row, in order.
__global__ void position_table_kernel(const float* partial, float* dtable, int batch, int positions) {
  const int64_t i = global_index();
  const int row = static_cast<int>(i / kHeadWidth), channel = static_cast<int>(i % kHeadWidth);
  if (row >= positions + 8) return;
  float sum = 0.0f;
  for (int n = 0; n < batch; ++n)
    for (int t = 0; t < kAttentionTaps; ++t) {
      const int p = positions - 1 + t - row;
      if (p < 0 || p >= positions) continue;
      sum += partial[((static_cast<int64_t>(n) * positions + p) * kAttentionTaps + t) * kHeadWidth + channel];
    }
  dtable[i] = sum;
}
}  // namespace

void height_logits_forward(const Tensor& qkv, const Tensor& rel_height, Tensor& logits) {
  const AttentionShape s = AttentionShape::of(qkv);
  dispatch_float(qkv.dtype(), [&]<typename T>() {
    launch(qkv.device(), height_logits_kernel<T>,
           {.grid = blocks_for(s.pixels() * s.heads, kBlockGroups), .block = kAttentionBlock}, qkv.data<T>(),
           rel_height.data<float>(), logits.data<float>(), s);
  });
}

void height_logits_backward(const Tensor& dlogits, const Tensor& rel_height, Tensor& dqkv) {
  const AttentionShape s = AttentionShape::of(dqkv);
  dispatch_float(dqkv.dtype(), [&]<typename T>() {
    launch(dqkv.device(), height_logits_backward_kernel<T>,
           {.grid = blocks_for(s.pixels() * s.heads, kBlockGroups), .block = kAttentionBlock, .barrier_free = true},
           dlogits.data<float>(), rel_height.data<float>(), dqkv.data<T>(), s);
  });
}

void position_table_backward(const Tensor& qkv, const Tensor& dlogits, PositionAxis axis, Tensor& dtable) {
  const AttentionShape s = AttentionShape::of(qkv);
  const bool high = axis == PositionAxis::height;
  const TableAxis a{high, high ? s.height : s.width, high ? s.width : s.height};
  const Tensor partial = Tensor::empty({s.batch, a.positions, kAttentionTaps, kHeadWidth}, DType::f32, qkv.device());
  dispatch_float(qkv.dtype(), [&]<typename T>() {
    launch(qkv.device(), position_table_partial_kernel<T>,
           {.grid = int64_t{s.batch} * a.positions, .block = kTableThreads}, qkv.data<T>(), dlogits.data<float>(),
           partial.data<float>(), s, a);
  });
  launch(qkv.device(), position_table_kernel,
         {.grid = blocks_for(dtable.numel(), kTableThreads), .block = kTableThreads, .barrier_free = true},
         partial.data<float>(), dtable.data<float>(), s.batch, a.positions);
}

}  // namespace segrt::kernels::cuda
