#include "tests/tools/segrt_op_vectors/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "kernels/elementwise.h"
#include "tests/tools/segrt_op_vectors/attributes.h"

namespace segrt::op_vectors {
namespace {

template <typename F>
decltype(auto) dispatch_any(DType dtype, const F& f) {
  switch (dtype) {
    case DType::f32: return f.template operator()<float>();
    case DType::bf16: return f.template operator()<bf16>();
    case DType::f16: return f.template operator()<f16>();
    case DType::f64: return f.template operator()<double>();
    case DType::i64: return f.template operator()<int64_t>();
    case DType::i32: return f.template operator()<int32_t>();
    case DType::u8: break;
  }
  return f.template operator()<uint8_t>();
}

// y[i] = x's element at sum_k i_k * strides[k], on the host.
Tensor gathered(const Tensor& x, const Shape& shape, const Dims& strides) {
  return dispatch_any(x.dtype(), [&]<typename T>() {
    const std::vector<T> from = x.to_vector<T>();
    std::vector<T> to(static_cast<size_t>(shape.numel()));
    Dims index(static_cast<size_t>(shape.rank()), 0);
    int64_t position = 0;
    for (T& element : to) {
      element = from[static_cast<size_t>(position)];
      for (int k = shape.rank() - 1; k >= 0; --k) {  // the next index, as an odometer counts
        const auto i = static_cast<size_t>(k);
        position += strides[i];
        if (++index[i] < shape[k]) break;
        position -= strides[i] * shape[k];
        index[i] = 0;
      }
    }
    return Tensor::from<T>(shape, to, x.device());
  });
}

Dims strides_of(const Shape& shape) {
  Dims strides(static_cast<size_t>(shape.rank()));
  int64_t stride = 1;
  for (int k = shape.rank() - 1; k >= 0; --k) {
    strides[static_cast<size_t>(k)] = stride;
    stride *= shape[k];
  }
  return strides;
}

}  // namespace

Dims dims_of(const Tensor& t) { return {t.shape().dims().begin(), t.shape().dims().end()}; }

Shape shape_of(const Dims& dims) {
  if (dims.size() > Shape::kMaxRank)
    throw Unsupported(fmt::format("{} dimensions, the runtime has at most {}", dims.size(), Shape::kMaxRank));
  return Shape(std::span<const int64_t>(dims));
}

int64_t product(std::span<const int64_t> dims) {
  return std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>());
}

int normalized_axis(int64_t axis, int rank) {
  if (axis < -rank || axis >= rank) throw Malformed(fmt::format("axis: expected -{0} to {0} - 1, got {1}", rank, axis));
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

int as_int(int64_t value, const char* what) {
  if (value < std::numeric_limits<int>::min() || value > std::numeric_limits<int>::max())
    throw Malformed(fmt::format("{}: {} does not fit 32 bits", what, value));
  return static_cast<int>(value);
}

Tensor unwritten(const Shape& shape, DType dtype, Device& device) {
  Tensor t = Tensor::empty(shape, dtype, device);
  if (t.numel() > 0) device.fill_bytes(t.raw(), 0xff, t.nbytes());
  return t;
}
Tensor unwritten_like(const Tensor& t) { return unwritten(t.shape(), t.dtype(), t.device()); }

Tensor permuted(const Tensor& x, const std::vector<int>& order) {
  const Dims from = strides_of(x.shape());
  Dims dims, strides;
  for (const int k : order) {
    dims.push_back(x.dim(k));
    strides.push_back(from[static_cast<size_t>(k)]);
  }
  return gathered(x, shape_of(dims), strides);
}

Tensor channels_last(const Tensor& x) {
  std::vector<int> order(static_cast<size_t>(x.rank()));
  std::iota(order.begin(), order.end(), 0);
  std::rotate(order.begin() + 1, order.begin() + 2, order.end());
  return permuted(x, order);
}

Tensor channels_first(const Tensor& x) {
  std::vector<int> order(static_cast<size_t>(x.rank()));
  std::iota(order.begin(), order.end(), 0);
  std::rotate(order.begin() + 1, order.end() - 1, order.end());
  return permuted(x, order);
}

Tensor expanded(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  const Dims from = strides_of(x.shape());
  Dims strides(static_cast<size_t>(shape.rank()), 0);
  const int missing = shape.rank() - x.rank();
  if (broadcast_shape(x.shape(), shape) != shape)
    throw Malformed(fmt::format("{} does not broadcast to {}", to_string(x.shape()), to_string(shape)));
  for (int k = 0; k < x.rank(); ++k)
    if (x.dim(k) != 1) strides[static_cast<size_t>(k + missing)] = from[static_cast<size_t>(k)];
  return gathered(x, shape, strides);
}

Shape broadcast_shape(const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  Dims dims(static_cast<size_t>(rank));
  for (int k = 0; k < rank; ++k) {  // from the right
    const int64_t da = k < a.rank() ? a[a.rank() - 1 - k] : 1, db = k < b.rank() ? b[b.rank() - 1 - k] : 1;
    if (da != db && da != 1 && db != 1)
      throw Malformed(fmt::format("{} and {} do not broadcast", to_string(a), to_string(b)));
    dims[static_cast<size_t>(rank - 1 - k)] = da == 1 ? db : da;
  }
  return shape_of(dims);
}

Tensor zero_extended(const Tensor& x, int axis, int64_t before, int64_t after) {
  Dims dims = dims_of(x);
  const auto at = dims.begin() + axis;
  const int64_t outer = product({dims.begin(), at}), inner = product({at + 1, dims.end()});
  // [outer, extent * inner] is a slice of the channels of the wider one.
  Tensor narrow = x.reshape({outer, *at * inner});
  *at += before + after;
  Tensor wide = Tensor::zeros({outer, *at * inner}, x.dtype(), x.device());
  kernels::copy_into_channels(narrow, wide, before * inner);
  return wide.reshape(shape_of(dims));
}

Tensor as_dtype(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tensor y = unwritten(x.shape(), dtype, x.device());
  kernels::cast(x, y);
  return y;
}

Tensor widened(const Tensor& x) {
  return x.dtype() == DType::f16 || x.dtype() == DType::bf16 ? as_dtype(x, DType::f32) : x;
}

DType parameter_dtype(const Tensor& x) { return x.dtype() == DType::f64 ? DType::f64 : DType::f32; }

}  // namespace segrt::op_vectors
