// Gradients of deformable unfolding. Those of offsets and masks are sums over channels, a warp each. That of the map is
// a scatter: any number of samples may hit a pixel. It is added up in 64-bit integers, multiples of a power of two that
// follows from the largest term, so that the atomics' order does not matter.
#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/channel_vectors.h"
#include "kernels/cuda/deform.cuh"
#include "kernels/cuda/deform.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {
constexpr int kThreads = 256;

// A float >= 0 as an integer of the same order; infinity is kInfinite, NaN is above it.
SEGRT_DEVICE int32_t ordered_bits(float magnitude) { return std::bit_cast<int32_t>(magnitude); }
constexpr int32_t kInfinite = 0x7f800000;

SEGRT_DEVICE float power_of_two(int exponent) { return std::bit_cast<float>((127 + exponent) << 23); }

// Terms of a magnitude up to `largest`, as integers: 2^log2_terms of them stay below 2^61.
struct FixedPoint {
  bool finite;
  int shift;  // integer = term * 2^shift

  SEGRT_DEVICE static FixedPoint of(int32_t largest, int log2_terms) {
    const int exponent = (largest >> 23) - 126;  // largest < 2^exponent
    return {largest < kInfinite, 61 - log2_terms - exponent};
  }
  // In halves, as 2^shift may lie beyond the floats.
  SEGRT_DEVICE int64_t to(float term) const {
    return llrintf(term * power_of_two(shift / 2) * power_of_two(shift - shift / 2));
  }
  SEGRT_DEVICE float from(int64_t sum) const {
    return static_cast<float>(sum) * power_of_two(-(shift / 2)) * power_of_two(-(shift - shift / 2));
  }
};

// A warp a sample, its lanes along the channels of the group, V at a time; the grid strides over the samples. Each
// lane sums the products of dcolumns with the four corners, a butterfly adds the lanes, and lane 0 writes: fixed orders
// all. Reads dcolumns once, x four times (from L2). `largest` becomes the largest |dcolumns * mask| of the samples in
// the map, as ordered bits: one atomic a block. All three results may be null.
template <typename T, int V>
__global__ void deform_backward_samples_kernel(DeformView<T> in, const T* dcolumns, int64_t first_position,
                                               int64_t positions, T* doffset, T* dmask, int32_t* largest) {
  const bool dots_wanted = doffset != nullptr || dmask != nullptr;
  const int taps = in.g.taps(), per_position = in.g.groups * taps;
  int32_t top = 0;
  const int64_t warps = static_cast<int64_t>(grid_dim().x) * warps_per_block();
  for (int64_t i = static_cast<int64_t>(block_index().x) * warps_per_block() + warp_index();
       i < positions * per_position; i += warps) {
    const int64_t position = i / per_position;
    const int group = static_cast<int>(i - position * per_position) / taps;
    const int tap = static_cast<int>(i - position * per_position) - group * taps;
    const typename DeformView<T>::Sample s = in.sample(first_position + position, group, tap);
    const int channel = group * in.group_channels;
    const T* from = dcolumns + (position * taps + tap) * in.channels + channel;
    float dots[4] = {};
    if (s.at.inside) {  // the whole warp agrees
      for (int c = lane_index() * V; c < in.group_channels; c += kWarpSize * V) {
        float d[V];
        load_floats<T, V>(from + c, d);
#pragma unroll
        for (int v = 0; v < V; ++v) top = Max{}(top, ordered_bits(fabsf(d[v] * s.mask)));
        if (!dots_wanted) continue;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          if (!s.at.has(k, in.height, in.width)) continue;
          float values[V];
          load_floats<T, V>(in.x + in.corner(s, k) + channel + c, values);
#pragma unroll
          for (int v = 0; v < V; ++v) dots[k] += d[v] * values[v];
        }
      }
    }
    if (!dots_wanted) continue;
    float value = 0.0f, dy = 0.0f, dx = 0.0f;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float dot = warp_sum(dots[k]);
      value += s.at.weight(k) * dot;
      dy += s.at.slope_y(k) * dot;
      dx += s.at.slope_x(k) * dot;
    }
    if (lane_index() != 0) continue;
    if (doffset != nullptr) {
      doffset[2 * s.index] = from_float<T>(dy * s.mask);
      doffset[2 * s.index + 1] = from_float<T>(dx * s.mask);
    }
    if (dmask != nullptr) dmask[s.index] = from_float<T>(value);
  }
  if (largest == nullptr) return;  // the whole grid agrees
  top = block_max(top);
  if (linear_thread() == 0) atomic_max(largest, top);
}

// A thread scatters V channels of one tap of one position, as deform_unfold_kernel gathers them: four corners, an
// integer atomic each a channel. Reads dcolumns once. sums [images,H,W,C] begin at image first_image.
template <typename T, int V>
__global__ void deform_scatter_kernel(DeformView<T> in, ColumnVectors vectors, const T* dcolumns,
                                      const int32_t* largest, int log2_terms, int64_t first_image, int64_t* sums) {
  const int64_t e = global_index();
  if (e >= vectors.count) return;
  const FixedPoint fixed = FixedPoint::of(*largest, log2_terms);
  if (!fixed.finite) return;
  const ColumnVectors::Place place = vectors.at(e);
  typename DeformView<T>::Sample s = in.sample(place.position, place.group, place.tap);
  if (!s.at.inside) return;
  s.image -= first_image;
  float d[V];
  load_floats<T, V>(dcolumns + e * V, d);
#pragma unroll
  for (int v = 0; v < V; ++v) d[v] *= s.mask;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if (!s.at.has(k, in.height, in.width)) continue;
    const float weight = s.at.weight(k);
    int64_t* to = sums + in.corner(s, k) + place.channel;
#pragma unroll
    for (int v = 0; v < V; ++v) atomic_add(to + v, fixed.to(weight * d[v]));
  }
}

// A thread an element, the grid striding: reads a sum and dx, writes dx.
__global__ void deform_add_sums_kernel(const int64_t* sums, const int32_t* largest, int log2_terms, int64_t count,
                                       float* dx) {
  const FixedPoint fixed = FixedPoint::of(*largest, log2_terms);
  for (int64_t i = global_index(); i < count; i += global_size())
    dx[i] += fixed.finite ? fixed.from(sums[i]) : std::bit_cast<float>(0x7fc00000);
}

// The least n with 2^n >= count.
int ceil_log2(int64_t count) {
  int n = 0;
  while ((int64_t{1} << n) < count) ++n;
  return n;
}

template <typename T, int V>
void backward_input(const DeformInput& in, int64_t first_row, const Tensor& dcolumns, const Tensor& largest,
                    Tensor& dx) {
  Device& device = in.x.device();
  const int64_t rows = in.offset.dim(1), last_row = first_row + dcolumns.dim(0);
  const int64_t first_image = first_row / rows, images = (last_row - 1) / rows + 1 - first_image;
  const Tensor sums = Tensor::zeros({images, dx.dim(1), dx.dim(2), dx.dim(3)}, DType::i64, device);
  // The weights of one sample sum to 1 at most: a pixel gets no more than one whole term of each sample of its image.
  const int log2_terms = ceil_log2(rows * in.offset.dim(2) * in.geometry.taps());
  const ColumnVectors vectors(in, first_row, dcolumns, V);
  launch(device, deform_scatter_kernel<T, V>,
         {.grid = blocks_for(vectors.count, kThreads), .block = kThreads, .barrier_free = true}, DeformView<T>(in),
         vectors, dcolumns.data<T>(), largest.data<int32_t>(), log2_terms, first_image, sums.data<int64_t>());
  launch(device, deform_add_sums_kernel,
         {.grid = grid_for(sums.numel(), kThreads), .block = kThreads, .barrier_free = true}, sums.data<int64_t>(),
         largest.data<int32_t>(), log2_terms, sums.numel(),
         dx.data<float>() + first_image * dx.dim(1) * dx.dim(2) * dx.dim(3));
}
}  // namespace

void deform_unfold_backward(const DeformInput& in, int64_t first_row, const Tensor& dcolumns,
                            const DeformGradients& gradients) {
  const bool dx_wanted = gradients.dx != nullptr && gradients.dx->numel() > 0;
  const Tensor largest = dx_wanted ? Tensor::zeros({1}, DType::i32, in.x.device()) : Tensor();
  const int64_t positions = dcolumns.dim(0) * in.offset.dim(2);
  const int64_t samples = positions * in.geometry.groups * in.geometry.taps();
  dispatch_float(in.x.dtype(), [&]<typename T>() {
    dispatch_channel_vectors<T>(in.x.dim(3) / in.geometry.groups, {in.x.raw(), dcolumns.raw()}, [&]<int V>() {
      launch(in.x.device(), deform_backward_samples_kernel<T, V>,
             {.grid = grid_for(samples, kThreads / kWarpSize), .block = kThreads}, DeformView<T>(in),
             dcolumns.data<T>(), first_row * in.offset.dim(2), positions,
             gradients.doffset != nullptr ? gradients.doffset->data<T>() : nullptr,
             gradients.dmask != nullptr ? gradients.dmask->data<T>() : nullptr,
             dx_wanted ? largest.data<int32_t>() : nullptr);
      if (dx_wanted) backward_input<T, V>(in, first_row, dcolumns, largest, *gradients.dx);
    });
  });
}

}  // namespace segrt::kernels::cuda
