// From ONNX layout to the runtime's and back. Elements are moved, never computed with: a result's arithmetic is the
// runtime's alone.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace segrt::op_vectors {

using Dims = std::vector<int64_t>;

Dims dims_of(const Tensor& t);
Shape shape_of(const Dims& dims);
int64_t product(std::span<const int64_t> dims);
// axis in [-rank, rank) counted from the front; throws Malformed outside.
int normalized_axis(int64_t axis, int rank);
// value as an int; throws Malformed, naming it, outside int's range.
int as_int(int64_t value, const char* what);

// A tensor for a kernel to fill, every byte 0xff: a NaN in each element that the kernel leaves unwritten.
Tensor unwritten(const Shape& shape, DType dtype, Device& device);
Tensor unwritten_like(const Tensor& t);

// y[i_0, i_1, ...] = x[...] with dimension order[k] of x as dimension k of y.
Tensor permuted(const Tensor& x, const std::vector<int>& order);
Tensor channels_last(const Tensor& x);   // [N,C,D...] -> [N,D...,C]; weights [O,C,k...] -> [O,k...,C]
Tensor channels_first(const Tensor& x);  // [N,D...,C] -> [N,C,D...]
// x repeated along extents of 1 to the shape, aligned at the right (x itself if it has that shape).
Tensor expanded(const Tensor& x, const Shape& shape);
// The shape that two shapes broadcast to, aligned at the right; throws Malformed if they do not.
Shape broadcast_shape(const Shape& a, const Shape& b);
// x with `before` and `after` zero slices added along the axis.
Tensor zero_extended(const Tensor& x, int axis, int64_t before, int64_t after);

// x itself, or kernels::cast to the dtype.
Tensor as_dtype(const Tensor& x, DType dtype);
// Float32 for the 16-bit types: operators composed of several kernels round once, at the end.
Tensor widened(const Tensor& x);
// What statistics, affine parameters and biases of activations x are kept in: f32, f64 where x is f64.
DType parameter_dtype(const Tensor& x);

}  // namespace segrt::op_vectors
