// The position terms in the logits of DGMN2's attention: products of a query with nine consecutive rows of a table,
// whose first row depends on the query's row or column. The tap number t = 0..8 serves as if it were a displacement
// along one axis, and the height term comes out transposed; both as published.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

enum class PositionAxis : uint8_t { height, width };

// logits[n,x,y,j,t] = q[n,y,x,j,:] . rel_height[H-1-y+t,:], an array of W rows and H columns. qkv [N,H,W,3*heads*64]
// f32, bf16, f16 (CPU: also f64), q first; rel_height [H+8,64] and logits [N,W,H,heads*9] f32 (f64 for f64).
void height_logits_forward(const Tensor& qkv, const Tensor& rel_height, Tensor& logits);

// Adds sum_t dlogits[n,x,y,j,t] * rel_height[H-1-y+t,:] to dqkv[n,y,x], q part of head j; the rest of dqkv stays.
void height_logits_backward(const Tensor& dlogits, const Tensor& rel_height, Tensor& dqkv);

// The gradient of a table, overwritten: dtable[r,:] = sum over n, y, x, j, t with P-1-p+t == r of
//   height: p = y, P = H: dlogits[n,x,y,j,t] * q[n,y,x,j,:], dlogits [N,W,H,heads*9]
//   width:  p = x, P = W: dlogits[n,y,x,j,t] * q[n,y,x,j,:], dlogits [N,H,W,heads*9]
// dtable [P+8,64], dlogits f32 (f64 for f64). Sums in a fixed order.
void position_table_backward(const Tensor& qkv, const Tensor& dlogits, PositionAxis axis, Tensor& dtable);

}  // namespace segrt::kernels
