#include "kernels/position_logits.h"

#include "core/op_scope.h"
#include "kernels/attention_check.h"
#include "kernels/cpu/position_logits.h"
#include "kernels/cuda/position_logits.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {
namespace {

// Of the height term, or [N,H,W,heads*9] of the width term.
Shape logits_shape(const AttentionShape& s, PositionAxis axis) {
  const bool high = axis == PositionAxis::height;
  return {s.batch, high ? s.width : s.height, high ? s.height : s.width, int64_t{s.heads} * kAttentionTaps};
}

int64_t position_flops(const AttentionShape& s) { return 2 * s.pixels() * s.heads * kAttentionTaps * kHeadWidth; }
}  // namespace

void height_logits_forward(const Tensor& qkv, const Tensor& rel_height, Tensor& logits) {
  constexpr std::string_view kOp = "height_logits";
  const AttentionShape s = require_projections(kOp, "qkv", qkv);
  require_position(kOp, "rel_height", rel_height, Shape{s.height + 8, kHeadWidth}, qkv);
  require_position(kOp, "logits", logits, logits_shape(s, PositionAxis::height), qkv);
  if (qkv.numel() == 0) return;
  const OpScope scope(kOp, logits, [&] {
    return OpWork{bytes_of(qkv) / 3 + bytes_of(rel_height, logits), position_flops(s)};
  });
  on_device(
      qkv, [&] { cuda::height_logits_forward(qkv, rel_height, logits); },
      [&] { cpu::height_logits_forward(qkv, rel_height, logits); });
}

void height_logits_backward(const Tensor& dlogits, const Tensor& rel_height, Tensor& dqkv) {
  constexpr std::string_view kOp = "height_logits_backward";
  const AttentionShape s = require_projections(kOp, "dqkv", dqkv);
  require_position(kOp, "rel_height", rel_height, Shape{s.height + 8, kHeadWidth}, dqkv);
  require_position(kOp, "dlogits", dlogits, logits_shape(s, PositionAxis::height), dqkv);
  if (dqkv.numel() == 0) return;
  const OpScope scope(kOp, dqkv, [&] {
    return OpWork{bytes_of(dlogits, rel_height) + 2 * (bytes_of(dqkv) / 3), position_flops(s)};
  });
  on_device(
      dqkv, [&] { cuda::height_logits_backward(dlogits, rel_height, dqkv); },
      [&] { cpu::height_logits_backward(dlogits, rel_height, dqkv); });
}

void position_table_backward(const Tensor& qkv, const Tensor& dlogits, PositionAxis axis, Tensor& dtable) {
  constexpr std::string_view kOp = "position_table_backward";
  const AttentionShape s = require_projections(kOp, "qkv", qkv);
  const int rows = (axis == PositionAxis::height ? s.height : s.width) + 8;
  require_position(kOp, "dlogits", dlogits, logits_shape(s, axis), qkv);
  require_position(kOp, "dtable", dtable, Shape{rows, kHeadWidth}, qkv);
  if (qkv.numel() == 0) {
    dtable.fill_zero();
    return;
  }
  const OpScope scope(kOp, dtable, [&] {
    return OpWork{bytes_of(qkv) / 3 + bytes_of(dlogits, dtable), position_flops(s)};
  });
  on_device(
      qkv, [&] { cuda::position_table_backward(qkv, dlogits, axis, dtable); },
      [&] { cpu::position_table_backward(qkv, dlogits, axis, dtable); });
}

}  // namespace segrt::kernels
