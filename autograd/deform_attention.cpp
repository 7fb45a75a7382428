#include "autograd/deform_attention.h"

#include "autograd/elementwise.h"
#include "autograd/pool.h"
#include "autograd/sample_sums.h"
#include "core/error.h"
#include "core/op_event.h"
#include "core/op_scope.h"
#include "kernels/attention_taps.h"
#include "kernels/deform_attention.h"
#include "kernels/position_logits.h"

namespace segrt::autograd {
namespace {

// Height logits leave their kernel as an array of W rows and H columns; the attention takes them as one of H rows and W
// columns. Where the two are the same the transposed values are used as they are.
Tensor height_logits(const Tensor& qkv, const Tensor& rel_height, int64_t taps) {
  const int64_t batch = qkv.dim(0), height = qkv.dim(1), width = qkv.dim(2);
  Tensor transposed = Tensor::empty({batch, width, height, taps}, rel_height.dtype(), qkv.device());
  kernels::height_logits_forward(qkv, rel_height, transposed);
  if (height == width) return transposed;
  Tensor logits = Tensor::empty({batch, height, width, taps}, rel_height.dtype(), qkv.device());
  kernels::resize_forward(transposed, {}, logits);
  return logits;
}

Tensor transposed_gradient(const Tensor& dlogits) {
  if (dlogits.dim(1) == dlogits.dim(2)) return dlogits;
  Tensor dtransposed = Tensor::empty({dlogits.dim(0), dlogits.dim(2), dlogits.dim(1), dlogits.dim(3)}, dlogits.dtype(),
                                     dlogits.device());
  kernels::resize_backward(dlogits, {}, dtransposed);
  return dtransposed;
}
}  // namespace

Var deform_attention(const Var& qkv, const Var& offset, const Var& rel_height, const Var& rel_width, int heads) {
  const FunctionScope scope("deform_attention", qkv.device());
  if (heads < 1 || qkv.shape().rank() != 4 || qkv.dim(3) != 3 * int64_t{heads} * kernels::kHeadWidth)
    throw ArgumentError("deform_attention: qkv: expected [N,H,W," + std::to_string(3 * heads * kernels::kHeadWidth) +
                        "] for " + std::to_string(heads) + " heads, got " + to_string(qkv.shape()));
  const int64_t taps = int64_t{heads} * kernels::kAttentionTaps;
  const Shape logits_shape{qkv.dim(0), qkv.dim(1), qkv.dim(2), taps};
  Tensor y = Tensor::empty({qkv.dim(0), qkv.dim(1), qkv.dim(2), qkv.dim(3) / 3}, qkv.dtype(), qkv.device());
  Tensor probabilities;
  if (recording({qkv, offset, rel_height, rel_width}))
    probabilities = Tensor::empty(logits_shape, rel_width.dtype(), qkv.device());
  kernels::deform_attention_forward(qkv.value(), offset.value(), rel_width.value(),
                                    height_logits(qkv.value(), rel_height.value(), taps), y,
                                    probabilities.defined() ? &probabilities : nullptr);
  if (const auto& see = y.device().op_observer)
    see({"deform_attention", {qkv.value(), offset.value(), rel_height.value(), rel_width.value()}, y});
  // Of what lies between, nine probabilities a query and head are kept: samples are cheaper made again than stored.
  return record(
      "deform_attention", {qkv, offset, rel_height, rel_width}, y,
      [qkv = qkv.value(), offset = offset.value(), rel_height = rel_height.value(), rel_width = rel_width.value(),
       probabilities, by_sample = sums_by_sample(rel_height) || sums_by_sample(rel_width)](const Tensor& dy) -> Grads {
        Tensor dqkv = Tensor::like(qkv), doffset = Tensor::like(offset);
        Tensor dlogits = Tensor::like(probabilities);
        kernels::deform_attention_backward(dy, qkv, offset, rel_width, probabilities, dqkv, doffset, dlogits);
        const Tensor dtransposed = transposed_gradient(dlogits);
        kernels::height_logits_backward(dtransposed, rel_height, dqkv);
        const auto [dheight, dwidth] = sum_over_samples<2>(
            {rel_height, rel_width}, qkv.dim(0), by_sample, [&](int64_t n, int64_t count, auto& tables) {
              const Tensor q = qkv.slice(n, count);
              kernels::position_table_backward(q, dtransposed.slice(n, count), kernels::PositionAxis::height,
                                               tables[0]);
              kernels::position_table_backward(q, dlogits.slice(n, count), kernels::PositionAxis::width, tables[1]);
            });
        return {dqkv, doffset, dheight, dwidth};
      });
}

Var resample_position_table(const Var& table, int n) {
  if (table.shape().rank() != 2 || n < 1)
    throw ArgumentError("resample_position_table: expected a table [rows,channels] and an extent of 1 or more, got " +
                        to_string(table.shape()) + " and " + std::to_string(n));
  const int rows = n + 8;
  if (table.dim(0) == rows) return table;
  const Var column = reshape(table, {1, table.dim(0), 1, table.dim(1)});
  return reshape(resize(column, rows, 1, {}), {rows, table.dim(1)});
}

}  // namespace segrt::autograd
