#include "kernels/cuda/patches.h"

#include "kernels/cuda/device.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// Cells of a map of `columns` cells a row, whose rows of all images follow each other.
struct Cells {
  int64_t count;  // cells times channels
  int columns, channels, side;

  // Where channel c of a cell's first pixel stands in x [.., columns * side, channels].
  SEGRT_DEVICE int64_t pixel(int64_t cell, int c) const {
    const int64_t row = cell / columns, j = cell - row * columns;
    return ((row * side) * columns * side + j * side) * channels + c;
  }
};

Cells cells_of(const Tensor& x, int side) {
  return {x.numel() / (int64_t{side} * side), static_cast<int>(x.dim(2)) / side, static_cast<int>(x.dim(3)), side};
}

// A thread one channel of one cell, neighbours along channels: a warp reads whole lines of x, and writes side*side
// values in a row each. Reads x once; patches or means may be null. kSide: the side where it is known at compile time,
// so that the values stay in registers and leave in vectors; else 0.
template <typename T, int kSide>
__global__ void split_patches_kernel(const T* x, T* patches, T* means, Cells cells) {
  const int64_t e = global_index();
  if (e >= cells.count) return;
  const int side = kSide > 0 ? kSide : cells.side;
  const int64_t cell = e / cells.channels;
  const T* from = x + cells.pixel(cell, static_cast<int>(e - cell * cells.channels));
  const int64_t row_step = int64_t{cells.columns} * side * cells.channels;
  T* to = patches != nullptr ? patches + e * side * side : nullptr;
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < side; ++i)
#pragma unroll
    for (int j = 0; j < side; ++j) {
      const T v = from[i * row_step + int64_t{j} * cells.channels];
      if (to != nullptr) to[i * side + j] = v;
      sum += to_float(v);
    }
  if (means != nullptr) means[e] = from_float<T>(sum * (1.0f / static_cast<float>(side * side)));
}

// The same the other way: reads the gradients once, writes dx once.
template <typename T, int kSide>
__global__ void split_patches_backward_kernel(const T* dpatches, const T* dmeans, T* dx, Cells cells) {
  const int64_t e = global_index();
  if (e >= cells.count) return;
  const int side = kSide > 0 ? kSide : cells.side;
  const int64_t cell = e / cells.channels;
  T* to = dx + cells.pixel(cell, static_cast<int>(e - cell * cells.channels));
  const int64_t row_step = int64_t{cells.columns} * side * cells.channels;
  const T* from = dpatches != nullptr ? dpatches + e * side * side : nullptr;
  const float mean = dmeans != nullptr ? to_float(dmeans[e]) * (1.0f / static_cast<float>(side * side)) : 0.0f;
#pragma unroll
  for (int i = 0; i < side; ++i)
#pragma unroll
    for (int j = 0; j < side; ++j)
      to[i * row_step + int64_t{j} * cells.channels] =
          from_float<T>(from != nullptr ? to_float(from[i * side + j]) + mean : mean);
}

template <typename F>
void dispatch_side(int side, const F& f) {
  side == 2 ? f.template operator()<2>() : f.template operator()<0>();
}

}  // namespace

void split_patches(const Tensor& x, int side, Tensor* patches, Tensor* means) {
  const Cells cells = cells_of(x, side);
  dispatch_float(x.dtype(), [&]<typename T>() {
    dispatch_side(side, [&]<int kSide>() {
      launch(x.device(), split_patches_kernel<T, kSide>,
             {.grid = blocks_for(cells.count, kThreads), .block = kThreads, .barrier_free = true}, x.data<T>(),
             patches != nullptr ? patches->data<T>() : nullptr, means != nullptr ? means->data<T>() : nullptr, cells);
    });
  });
}

void split_patches_backward(const Tensor* dpatches, const Tensor* dmeans, int side, Tensor& dx) {
  const Cells cells = cells_of(dx, side);
  dispatch_float(dx.dtype(), [&]<typename T>() {
    dispatch_side(side, [&]<int kSide>() {
      launch(dx.device(), split_patches_backward_kernel<T, kSide>,
             {.grid = blocks_for(cells.count, kThreads), .block = kThreads, .barrier_free = true},
             dpatches != nullptr ? dpatches->data<T>() : nullptr, dmeans != nullptr ? dmeans->data<T>() : nullptr,
             dx.data<T>(), cells);
    });
  });
}

}  // namespace segrt::kernels::cuda
