#include <fmt/format.h>

#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "tests/tools/segrt_op_vectors/layout.h"
#include "tests/tools/segrt_op_vectors/operators.h"

namespace segrt::op_vectors {
namespace {

// [..., R, S] repeated to the batch and flattened to [B, R, S].
Tensor batch_of(const Tensor& t, const Shape& batch) {
  Dims dims(batch.dims().begin(), batch.dims().end());
  dims.push_back(t.dim(-2));
  dims.push_back(t.dim(-1));
  return expanded(t, shape_of(dims)).reshape({batch.numel(), t.dim(-2), t.dim(-1)});
}

Shape batch_shape(const Tensor& t) { return Shape(t.shape().dims().first(static_cast<size_t>(t.rank() - 2))); }

}  // namespace

// numpy.matmul: a vector is a matrix of one row or column that the result lacks; leading extents broadcast.
Outputs run_matmul(const Case& c) {
  const Tensor a_in = c.float_input(0), b_in = c.float_input(1);
  if (a_in.rank() < 1 || b_in.rank() < 1) throw Malformed("expected matrices or vectors, got a scalar");
  const Tensor a = a_in.rank() == 1 ? a_in.reshape({1, a_in.dim(0)}) : a_in;
  const Tensor b = b_in.rank() == 1 ? b_in.reshape({b_in.dim(0), 1}) : b_in;
  if (a.dim(-1) != b.dim(-2))
    throw Malformed(fmt::format("{} and {} do not multiply", to_string(a.shape()), to_string(b.shape())));
  const Shape batch = broadcast_shape(batch_shape(a), batch_shape(b));
  Tensor y;
  if (batch.rank() == 0) {
    y = unwritten({a.dim(0), b.dim(1)}, a.dtype(), a.device());
    kernels::matmul(a, b, {}, y);
  } else {
    y = unwritten({batch.numel(), a.dim(-2), b.dim(-1)}, a.dtype(), a.device());
    kernels::matmul(batch_of(a, batch), batch_of(b, batch), {}, y);
  }
  Dims dims(batch.dims().begin(), batch.dims().end());
  if (a_in.rank() > 1) dims.push_back(a.dim(-2));
  if (b_in.rank() > 1) dims.push_back(b.dim(-1));
  return {y.reshape(shape_of(dims))};
}

// alpha * a' b' + beta * c, c broadcast to the product.
Outputs run_gemm(const Case& c) {
  const Tensor a = c.float_input(0), b = c.float_input(1);
  const Attributes& at = c.attributes();
  kernels::MatmulOptions o{.transpose_a = at.integer("transA", 0) != 0, .transpose_b = at.integer("transB", 0) != 0};
  const double alpha = at.number("alpha", 1), beta = at.number("beta", 1);
  if (a.rank() != 2 || b.rank() != 2)
    throw Malformed(fmt::format("expected matrices, got {} and {}", to_string(a.shape()), to_string(b.shape())));
  Tensor y = unwritten({a.dim(o.transpose_a ? 1 : 0), b.dim(o.transpose_b ? 0 : 1)}, a.dtype(), a.device());
  const Tensor added = c.has_input(2) ? c.float_input(2) : Tensor{};
  // A row added to every row is the bias of a linear layer.
  const bool is_bias = added.defined() && alpha == 1 && beta == 1 && added.numel() == y.dim(1) && added.rank() >= 1 &&
                       added.dim(-1) == y.dim(1);
  const Tensor bias = is_bias ? as_dtype(added.reshape({y.dim(1)}), parameter_dtype(a)) : Tensor{};
  if (is_bias) o.bias = &bias;
  kernels::matmul(a, b, o, y);
  if (added.defined() && !is_bias)
    kernels::add_scaled(y, alpha, expanded(added, y.shape()), beta, y);
  else if (alpha != 1)
    kernels::scale(y, alpha, 0, y);
  return {y};
}

}  // namespace segrt::op_vectors
