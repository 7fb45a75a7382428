#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/channel_vectors.h"
#include "kernels/cuda/deform.cuh"
#include "kernels/cuda/deform.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {
constexpr int kThreads = 256;

// A thread samples V channels of one tap of one position, neighbours along channels: where there are 32 * V of them, a
// warp reads one offset, mask and four stretches of x, and writes one stretch of columns. x is read from L2 after its
// first use, as neighbouring windows overlap; columns are written once.
template <typename T, int V>
__global__ void deform_unfold_kernel(DeformView<T> in, ColumnVectors vectors, T* columns) {
  const int64_t e = global_index();
  if (e >= vectors.count) return;
  const ColumnVectors::Place place = vectors.at(e);
  const typename DeformView<T>::Sample s = in.sample(place.position, place.group, place.tap);
  float sum[V] = {};
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if (!s.at.has(k, in.height, in.width)) continue;
    const float weight = s.at.weight(k) * s.mask;
    float values[V];
    load_floats<T, V>(in.x + in.corner(s, k) + place.channel, values);
#pragma unroll
    for (int v = 0; v < V; ++v) sum[v] += weight * values[v];
  }
  store_floats<T, V>(columns + e * V, sum);
}

}  // namespace

void deform_unfold(const DeformInput& in, int64_t first_row, Tensor& columns) {
  dispatch_float(in.x.dtype(), [&]<typename T>() {
    dispatch_channel_vectors<T>(in.x.dim(3) / in.geometry.groups, {in.x.raw(), columns.raw()}, [&]<int V>() {
      const ColumnVectors vectors(in, first_row, columns, V);
      launch(in.x.device(), deform_unfold_kernel<T, V>,
             {.grid = blocks_for(vectors.count, kThreads), .block = kThreads, .barrier_free = true}, DeformView<T>(in),
             vectors, columns.data<T>());
    });
  });
}

}  // namespace segrt::kernels::cuda
