#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/map_elements.cuh"
#include "kernels/cuda/wide_divisor.h"
#include "kernels/dispatch.h"
#include "kernels/elementwise_formulas.h"

namespace segrt::kernels::cuda {
namespace {

template <int V>
SEGRT_DEVICE void apply_binary(Binary op, const float (&a)[V], const float (&b)[V], float (&y)[V]) {
  dispatch_binary(op, [&]<Binary kOp>() {
#pragma unroll
    for (int k = 0; k < V; ++k) y[k] = binary_value<kOp>(a[k], b[k]);
  });
}

struct BinaryAlike {
  Binary op;

  template <int V>
  SEGRT_DEVICE void apply(const float (&in)[2][V], float (&out)[V], int64_t) const {
    apply_binary(op, in[0], in[1], out);
  }
};

// Where element i of a finds its b: runs from the innermost outwards.
struct BroadcastIndex {
  int runs;
  WideDivisor extent[Shape::kMaxRank];
  int64_t stride[Shape::kMaxRank];  // in b; 0 where b is broadcast

  SEGRT_DEVICE int64_t operator()(int64_t i) const {
    int64_t offset = 0;
    for (int r = 0; r < runs; ++r) {
      const int64_t quotient = extent[r](i);
      offset += (i - quotient * extent[r].extent()) * stride[r];
      i = quotient;
    }
    return offset;
  }
};

enum class BroadcastAccess { vector, one, each };

// b is small and stays in cache. Vectors of a fall within one innermost run where its extent is a multiple of the
// vector length: then b is one vector, or one value; else every element is looked up.
template <typename T>
struct BinaryBroadcast {
  Binary op;
  BroadcastAccess access;
  const T* b;
  BroadcastIndex index;

  template <int V>
  SEGRT_DEVICE void apply(const float (&in)[1][V], float (&out)[V], int64_t first) const {
    float values[V];
    if (access == BroadcastAccess::vector) {
      load_floats<T, V>(b + index(first), values);
    } else if (access == BroadcastAccess::one) {
      const float value = to_float(b[index(first)]);
#pragma unroll
      for (int k = 0; k < V; ++k) values[k] = value;
    } else {
      for (int k = 0; k < V; ++k) values[k] = to_float(b[index(first + k)]);
    }
    apply_binary(op, in[0], values, out);
  }
};

template <typename T>
BinaryBroadcast<T> broadcast_of(Binary op, const Tensor& a, const Tensor& b, const Runs& runs) {
  BinaryBroadcast<T> f{};
  f.op = op;
  f.b = b.data<T>();
  f.index.runs = runs.count;
  int64_t stride = 1;
  for (int r = 0; r < runs.count; ++r) {
    const Run& run = runs.run[static_cast<size_t>(runs.count - 1 - r)];
    f.index.extent[r] = WideDivisor(run.extent, a.numel());
    f.index.stride[r] = run.kept ? stride : 0;
    if (run.kept) stride *= run.extent;
  }
  // The front sends at least one broadcast run here: equal shapes go another way.
  const Run& inner = runs.run[static_cast<size_t>(runs.count - 1)];
  const bool whole = inner.extent % kVec<T> == 0;
  f.access = !whole ? BroadcastAccess::each : (inner.kept ? BroadcastAccess::vector : BroadcastAccess::one);
  if (f.access == BroadcastAccess::vector && !is_aligned(f.b)) f.access = BroadcastAccess::each;
  return f;
}

// y = alpha * a + beta * b.
struct AddScaled {
  float alpha, beta;
  template <int V>
  SEGRT_DEVICE void apply(const float (&in)[2][V], float (&out)[V], int64_t) const {
#pragma unroll
    for (int k = 0; k < V; ++k) out[k] = alpha * in[0][k] + beta * in[1][k];
  }
};

// y = alpha * x + beta.
struct Scale {
  float alpha, beta;
  template <int V>
  SEGRT_DEVICE void apply(const float (&in)[1][V], float (&out)[V], int64_t) const {
#pragma unroll
    for (int k = 0; k < V; ++k) out[k] = alpha * in[0][k] + beta;
  }
};
}  // namespace

void binary_forward(Binary op, const Tensor& a, const Tensor& b, const Runs& runs, Tensor& y) {
  dispatch_float(a.dtype(), [&]<typename T>() {
    if (a.numel() == b.numel())
      map_elements<T, 2>(y, {a.data<T>(), b.data<T>()}, BinaryAlike{op});
    else
      map_elements<T, 1>(y, {a.data<T>()}, broadcast_of<T>(op, a, b, runs));
  });
}

void add_scaled(const Tensor& a, double alpha, const Tensor& b, double beta, Tensor& y) {
  const AddScaled f{static_cast<float>(alpha), static_cast<float>(beta)};
  dispatch_float(a.dtype(), [&]<typename T>() { map_elements<T, 2>(y, {a.data<T>(), b.data<T>()}, f); });
}

void scale(const Tensor& x, double alpha, double beta, Tensor& y) {
  const Scale f{static_cast<float>(alpha), static_cast<float>(beta)};
  dispatch_float(x.dtype(), [&]<typename T>() { map_elements<T, 1>(y, {x.data<T>()}, f); });
}

}  // namespace segrt::kernels::cuda
