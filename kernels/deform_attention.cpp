#include "kernels/deform_attention.h"

#include "core/op_scope.h"
#include "kernels/attention_check.h"
#include "kernels/check.h"
#include "kernels/cpu/deform_attention.h"
#include "kernels/cuda/deform_attention.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {
namespace {

// What both directions take.
AttentionShape require_attention(std::string_view op, const Tensor& qkv, const Tensor& offset,
                                 const Tensor& rel_width) {
  const AttentionShape s = require_projections(op, "qkv", qkv);
  require_shape(op, "offset", offset, Shape{s.batch, s.height, s.width, int64_t{s.heads} * kTapOffsets});
  require_dtype(op, "offset", offset, {qkv.dtype()});
  require_device(op, "offset", offset, qkv);
  require_position(op, "rel_width", rel_width, Shape{s.width + 8, kHeadWidth}, qkv);
  return s;
}

void require_output(std::string_view op, std::string_view name, const Tensor& y, const AttentionShape& s,
                    const Tensor& qkv) {
  require_shape(op, name, y, Shape{s.batch, s.height, s.width, s.channels()});
  require_dtype(op, name, y, {qkv.dtype()});
  require_device(op, name, y, qkv);
}

Shape logits_shape(const AttentionShape& s) { return {s.batch, s.height, s.width, int64_t{s.heads} * kAttentionTaps}; }

// Of sampling one map: four multiply-adds a tap and channel.
int64_t sampling_flops(const AttentionShape& s) { return 2 * 4 * kAttentionTaps * s.pixels() * s.channels(); }
// Of one product with a sampled map.
int64_t product_flops(const AttentionShape& s) { return 2 * kAttentionTaps * s.pixels() * s.channels(); }
}  // namespace

void deform_attention_forward(const Tensor& qkv, const Tensor& offset, const Tensor& rel_width,
                              const Tensor& height_logits, Tensor& y, Tensor* probabilities) {
  constexpr std::string_view kOp = "deform_attention";
  const AttentionShape s = require_attention(kOp, qkv, offset, rel_width);
  require_position(kOp, "height_logits", height_logits, logits_shape(s), qkv);
  require_output(kOp, "y", y, s, qkv);
  if (probabilities != nullptr) require_position(kOp, "probabilities", *probabilities, logits_shape(s), qkv);
  if (qkv.numel() == 0) return;
  const OpScope scope(kOp, y, [&] {
    return OpWork{bytes_of(qkv, offset, rel_width, height_logits, y) + bytes_of(probabilities),
                  2 * sampling_flops(s) + 3 * product_flops(s)};
  });
  on_device(
      qkv, [&] { cuda::deform_attention_forward(qkv, offset, rel_width, height_logits, y, probabilities); },
      [&] { cpu::deform_attention_forward(qkv, offset, rel_width, height_logits, y, probabilities); });
}

void deform_attention_backward(const Tensor& dy, const Tensor& qkv, const Tensor& offset, const Tensor& rel_width,
                               const Tensor& probabilities, Tensor& dqkv, Tensor& doffset, Tensor& dlogits) {
  constexpr std::string_view kOp = "deform_attention_backward";
  const AttentionShape s = require_attention(kOp, qkv, offset, rel_width);
  require_output(kOp, "dy", dy, s, qkv);
  require_position(kOp, "probabilities", probabilities, logits_shape(s), qkv);
  require_same(kOp, "qkv", qkv, "dqkv", dqkv);
  require_same(kOp, "offset", offset, "doffset", doffset);
  require_position(kOp, "dlogits", dlogits, logits_shape(s), qkv);
  if (qkv.numel() == 0) return;
  const OpScope scope(kOp, dqkv, [&] {
    return OpWork{bytes_of(dy, qkv, offset, rel_width, probabilities, dqkv, doffset, dlogits),
                  4 * sampling_flops(s) + 7 * product_flops(s)};
  });
  on_device(
      qkv, [&] { cuda::deform_attention_backward(dy, qkv, offset, rel_width, probabilities, dqkv, doffset, dlogits); },
      [&] { cpu::deform_attention_backward(dy, qkv, offset, rel_width, probabilities, dqkv, doffset, dlogits); });
}

}  // namespace segrt::kernels
