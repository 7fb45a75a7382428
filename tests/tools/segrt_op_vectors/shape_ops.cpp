// Operators that move or rename elements: copies of channel slices, views and copies of whole tensors.
#include <fmt/format.h>

#include <algorithm>

#include "kernels/elementwise.h"
#include "tests/tools/segrt_op_vectors/layout.h"
#include "tests/tools/segrt_op_vectors/operators.h"

namespace segrt::op_vectors {
namespace {

// [..., extent, ...] as rows [before, extent * after]: a slice along the axis is a slice of the row.
Tensor rows_of(const Tensor& t, int axis) {
  const auto dims = t.shape().dims();
  const auto split = static_cast<size_t>(axis);
  return t.reshape({product(dims.first(split)), product(dims.subspan(split))});
}

Dims with_extent(const Tensor& t, int axis, int64_t extent) {
  Dims dims = dims_of(t);
  dims[static_cast<size_t>(axis)] = extent;
  return dims;
}

Dims split_sizes(const Case& c, int64_t extent) {
  if (c.has_input(1)) return c.integer_input(1);
  if (c.attributes().has("split")) return c.attributes().integers("split");
  const int64_t parts = c.attributes().integer("num_outputs", static_cast<int64_t>(c.output_count()));
  if (parts < 1) throw Malformed("expected at least one output");
  const int64_t each = (extent + parts - 1) / parts;  // the last may be shorter
  Dims sizes;
  for (int64_t i = 0; i < parts; ++i) sizes.push_back(std::clamp<int64_t>(extent - i * each, 0, each));
  return sizes;
}

Tensor same_elements(const Tensor& x, const Dims& dims) {
  const Shape shape = shape_of(dims);
  if (shape.numel() != x.numel())
    throw Malformed(fmt::format("{} does not reshape to {}", to_string(x.shape()), to_string(shape)));
  return x.reshape(shape);
}

Dims axes_of(const Case& c) { return c.has_input(1) ? c.integer_input(1) : c.attributes().integers("axes"); }

}  // namespace

Outputs run_concat(const Case& c) {
  std::vector<Tensor> parts;
  for (size_t i = 0; i < c.input_count(); ++i) parts.push_back(c.input(i));
  if (parts.empty()) throw Malformed("expected at least one input");
  const int axis = normalized_axis(c.attributes().integer("axis", 1), parts[0].rank());
  int64_t extent = 0;
  for (const Tensor& part : parts) {
    if (part.rank() != parts[0].rank() || with_extent(part, axis, 0) != with_extent(parts[0], axis, 0))
      throw Malformed(fmt::format("{} and {} do not concatenate along axis {}", to_string(parts[0].shape()),
                                  to_string(part.shape()), axis));
    extent += part.dim(axis);
  }
  const Tensor y = unwritten(shape_of(with_extent(parts[0], axis, extent)), parts[0].dtype(), c.device());
  Tensor rows = rows_of(y, axis);
  int64_t offset = 0;
  for (const Tensor& part : parts) {
    const Tensor slice = rows_of(part, axis);
    kernels::copy_into_channels(slice, rows, offset);
    offset += slice.dim(1);
  }
  return {y};
}

Outputs run_split(const Case& c) {
  const Tensor x = c.input(0);
  const int axis = normalized_axis(c.attributes().integer("axis", 0), x.rank());
  const Tensor rows = rows_of(x, axis);
  Outputs outputs;
  int64_t offset = 0;
  for (const int64_t size : split_sizes(c, x.dim(axis))) {
    const Tensor y = unwritten(shape_of(with_extent(x, axis, size)), x.dtype(), c.device());
    Tensor slice = rows_of(y, axis);
    kernels::copy_from_channels(rows, offset, slice);
    offset += slice.dim(1);
    outputs.push_back(y);
  }
  return outputs;
}

Outputs run_identity(const Case& c) { return {c.input(0).clone()}; }

Outputs run_dropout(const Case& c) {
  const Tensor x = c.float_input(0);
  const bool by_attribute = c.opset() < 12;
  double ratio = c.attributes().number("ratio", 0.5);
  if (!by_attribute && c.has_input(1)) ratio = c.float_input(1).item();
  bool training = c.opset() < 7 ? c.attributes().integer("is_test", 0) == 0 : false;
  if (!by_attribute) training = c.has_input(2) && c.flag_input(2);
  if (training && ratio != 0)
    throw Unsupported("random: the mask follows from a generator that the case does not state");
  if (c.wants_output(1)) throw Unsupported("a mask: the runtime computes it again in place of storing it");
  Tensor y = unwritten_like(x);
  const Tensor step = Tensor::zeros({1}, DType::i64, c.device());
  kernels::dropout(x, 0, 0, 0, step, y);
  return {y};
}

Outputs run_reshape(const Case& c) {
  const Tensor x = c.input(0);
  Dims dims = c.has_input(1) ? c.integer_input(1) : c.attributes().integers("shape");
  const bool keeps_zero = c.attributes().integer("allowzero", 0) != 0;
  int64_t known = 1;
  for (size_t k = 0; k < dims.size(); ++k) {
    if (dims[k] == 0 && !keeps_zero) {
      if (static_cast<int>(k) >= x.rank()) throw Malformed("shape: 0 stands for an extent that the input lacks");
      dims[k] = x.dim(static_cast<int>(k));
    }
    if (dims[k] != -1) known *= dims[k];
  }
  if (const auto rest = std::find(dims.begin(), dims.end(), -1); rest != dims.end())
    *rest = known == 0 ? 0 : x.numel() / known;
  return {same_elements(x, dims)};
}

Outputs run_flatten(const Case& c) {
  const Tensor x = c.input(0);
  const int64_t axis = c.attributes().integer("axis", 1);
  return {rows_of(x, axis == x.rank() ? x.rank() : normalized_axis(axis, x.rank()))};
}

Outputs run_squeeze(const Case& c) {
  const Tensor x = c.input(0);
  const Dims axes = axes_of(c);
  std::vector<bool> gone(static_cast<size_t>(x.rank()), false);
  for (const int64_t axis : axes) gone[static_cast<size_t>(normalized_axis(axis, x.rank()))] = true;
  Dims dims;
  for (int k = 0; k < x.rank(); ++k)
    if (!(axes.empty() ? x.dim(k) == 1 : gone[static_cast<size_t>(k)])) dims.push_back(x.dim(k));
  return {same_elements(x, dims)};
}

Outputs run_unsqueeze(const Case& c) {
  const Tensor x = c.input(0);
  const Dims axes = axes_of(c);
  const int rank = x.rank() + static_cast<int>(axes.size());
  std::vector<bool> added(static_cast<size_t>(rank), false);
  for (const int64_t axis : axes) added[static_cast<size_t>(normalized_axis(axis, rank))] = true;
  Dims dims;
  int from = 0;
  for (const bool one : added) dims.push_back(one || from >= x.rank() ? 1 : x.dim(from++));
  return {same_elements(x, dims)};
}

}  // namespace segrt::op_vectors
