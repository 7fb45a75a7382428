#include <fmt/format.h>

#include <algorithm>

#include "kernels/argmax.h"
#include "kernels/elementwise.h"
#include "kernels/pool.h"
#include "kernels/reduce.h"
#include "tests/tools/segrt_op_vectors/layout.h"
#include "tests/tools/segrt_op_vectors/operators.h"

namespace segrt::op_vectors {
namespace {
using kernels::Unary;

Tensor unary(Unary op, const Tensor& x) {
  Tensor y = unwritten_like(x);
  kernels::unary_forward(op, x, y);
  return y;
}

// The axes to reduce, an attribute or, in newer opsets, an input; none given: all, or none if noop_with_empty_axes.
std::vector<bool> reduced_axes(const Case& c, int rank) {
  const Dims axes = c.has_input(1) ? c.integer_input(1) : c.attributes().integers("axes");
  std::vector<bool> reduced(static_cast<size_t>(rank), false);
  for (const int64_t axis : axes) reduced[static_cast<size_t>(normalized_axis(axis, rank))] = true;
  if (axes.empty() && c.attributes().integer("noop_with_empty_axes", 0) == 0)
    reduced.assign(static_cast<size_t>(rank), true);
  return reduced;
}

Shape reduced_shape(const Tensor& x, const std::vector<bool>& reduced, bool keep) {
  Dims dims;
  for (int k = 0; k < x.rank(); ++k) {
    const bool gone = reduced[static_cast<size_t>(k)];
    if (!gone || keep) dims.push_back(gone ? 1 : x.dim(k));
  }
  return shape_of(dims);
}

Tensor sum(const Tensor& x, const Shape& shape) {
  Tensor y = unwritten(shape, x.dtype(), x.device());
  kernels::sum_to(x, y);
  return y;
}

// The largest along the axes: maps [kept, reduced, 1, 1] under a window as high as they are.
Tensor maximum(const Tensor& x, const std::vector<bool>& reduced, const Shape& shape) {
  std::vector<int> order;
  for (const bool last : {false, true})
    for (int k = 0; k < x.rank(); ++k)
      if (reduced[static_cast<size_t>(k)] == last) order.push_back(k);
  const int64_t count = shape.numel() == 0 ? 0 : x.numel() / shape.numel();
  if (count == 0) throw Unsupported("a maximum of nothing");
  Tensor y = unwritten({shape.numel(), 1, 1, 1}, x.dtype(), x.device());
  Tensor index = unwritten(y.shape(), DType::i32, x.device());
  kernels::max_pool2d_forward(permuted(x, order).reshape({shape.numel(), count, 1, 1}),
                              {.kernel_h = as_int(count, "elements"), .kernel_w = 1}, y, index);
  return y.reshape(shape);
}

Tensor reduce(const std::string& op, const Tensor& x, const std::vector<bool>& reduced) {
  const Shape shape = reduced_shape(x, reduced, true);
  if (op == "ReduceMax") return maximum(x, reduced, shape);
  if (op == "ReduceMin") return unary(Unary::neg, maximum(unary(Unary::neg, x), reduced, shape));
  if (op == "ReduceL1") return sum(unary(Unary::abs, x), shape);
  if (op == "ReduceL2") return unary(Unary::sqrt, sum(unary(Unary::square, x), shape));
  if (op == "ReduceSumSquare") return sum(unary(Unary::square, x), shape);
  if (op == "ReduceLogSum") return unary(Unary::log, sum(x, shape));
  Tensor y = sum(x, shape);
  if (op == "ReduceMean" && x.numel() > 0) {
    Tensor mean = unwritten_like(y);
    kernels::scale(y, static_cast<double>(y.numel()) / static_cast<double>(x.numel()), 0, mean);
    return mean;
  }
  if (op == "ReduceMean" && y.numel() > 0) throw Unsupported("a mean of nothing");
  return y;
}

}  // namespace

Outputs run_reduce(const Case& c) {
  const Tensor x = c.float_input(0);
  const std::vector<bool> reduced = reduced_axes(c, x.rank());
  const bool keep = c.attributes().integer("keepdims", 1) != 0;
  // Without axes to reduce (noop_with_empty_axes) the operator is the identity, squares and roots included.
  if (x.rank() > 0 && std::none_of(reduced.begin(), reduced.end(), [](bool r) { return r; })) return {x};
  const Tensor y = as_dtype(reduce(c.op(), widened(x), reduced), x.dtype());
  return {y.reshape(reduced_shape(x, reduced, keep))};
}

Outputs run_arg_max(const Case& c) {
  Tensor x = c.float_input(0);
  if (c.attributes().integer("select_last_index", 0) != 0)
    throw Unsupported("select_last_index: the runtime finds the first of equal maxima");
  const int axis = normalized_axis(c.attributes().integer("axis", 0), x.rank());
  if (c.op() == "ArgMin") x = unary(Unary::neg, x);
  std::vector<int> order;
  Dims dims;
  for (int k = 0; k < x.rank(); ++k)
    if (k != axis) order.push_back(k);
  order.push_back(axis);
  const Tensor rows = permuted(x, order);
  Tensor index = unwritten(Shape(rows.shape().dims().first(order.size() - 1)), DType::i32, x.device());
  kernels::argmax(rows, index);
  std::vector<bool> reduced(static_cast<size_t>(x.rank()), false);
  reduced[static_cast<size_t>(axis)] = true;
  const std::vector<int32_t> found = index.to_vector<int32_t>();
  return {Tensor::from<int64_t>(reduced_shape(x, reduced, c.attributes().integer("keepdims", 1) != 0),
                                std::vector<int64_t>(found.begin(), found.end()), x.device())};
}

}  // namespace segrt::op_vectors
