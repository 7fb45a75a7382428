#include "kernels/cuda/batch_augment.h"

#include "kernels/cuda/device.h"
#include "kernels/dispatch.h"
#include "kernels/normal_pair.h"

namespace segrt::kernels::cuda {
namespace {
constexpr int kThreads = 256;

// A thread a pixel of the batch, grid-stride. Reads its image's rectangle (from the L1 cache but for the first time)
// and writes the pixel if it lies in there; all others are left.
template <typename T>
__global__ void erase_kernel(const int64_t* rectangles, uint64_t seed, T* x, int64_t pixels, int height, int width,
                             int channels) {
  for (int64_t i = global_index(); i < pixels; i += global_size()) {
    const int64_t n = i / (int64_t{height} * width), in_image = i - n * height * width;
    const int64_t* r = rectangles + n * 5;
    const int64_t row = in_image / width - r[0], column = in_image % width - r[1];
    if (row < 0 || row >= r[2] || column < 0 || column >= r[3]) continue;
    const Philox4 words = philox(seed, static_cast<uint64_t>(r[4]), static_cast<uint64_t>(row * r[3] + column));
    const NormalPair a = normal_pair(words.v[0], words.v[1]), b = normal_pair(words.v[2], words.v[3]);
    const float values[4] = {a.first, a.second, b.first, b.second};
    for (int c = 0; c < channels; ++c) x[i * channels + c] = from_float<T>(values[c]);
  }
}

// A thread an element of the first half of the batch and its counterpart in the second, grid-stride: both are read,
// then written.
template <typename T>
__global__ void blend_kernel(float own, float other, T* x, int64_t images, int64_t size) {
  const int64_t total = images / 2 * size;
  for (int64_t i = global_index(); i < total; i += global_size()) {
    const int64_t n = i / size, partner = (images - 1 - n) * size + (i - n * size);
    const float u = to_float(x[i]), v = to_float(x[partner]);
    x[i] = from_float<T>(own * u + other * v);
    x[partner] = from_float<T>(own * v + other * u);
  }
}

struct Box {
  int top, left, height, width;
};

// A thread an element of the box in an image of the first half and its counterpart, grid-stride.
template <typename T>
__global__ void swap_kernel(Box box, T* x, int64_t images, int height, int width, int channels) {
  const int64_t row_size = int64_t{box.width} * channels, box_size = box.height * row_size;
  for (int64_t i = global_index(); i < images / 2 * box_size; i += global_size()) {
    const int64_t n = i / box_size, y = (i - n * box_size) / row_size, e = i - n * box_size - y * row_size;
    const int64_t offset = ((box.top + y) * width + box.left) * channels + e;
    const int64_t image_size = int64_t{height} * width * channels;
    T &a = x[n * image_size + offset], &b = x[(images - 1 - n) * image_size + offset];
    const T kept = a;
    a = b;
    b = kept;
  }
}
}  // namespace

void erase_rectangles(const Tensor& rectangles, uint64_t seed, Tensor& x) {
  const int64_t pixels = x.numel() / x.dim(3);
  dispatch_float(x.dtype(), [&]<typename T>() {
    launch(x.device(), erase_kernel<T>, {.grid = grid_for(pixels, kThreads), .block = kThreads, .barrier_free = true},
           rectangles.data<int64_t>(), seed, x.data<T>(), pixels, static_cast<int>(x.dim(1)),
           static_cast<int>(x.dim(2)), static_cast<int>(x.dim(3)));
  });
}

void blend_with_reversed(double share, Tensor& x) {
  dispatch_float(x.dtype(), [&]<typename T>() {
    launch(x.device(), blend_kernel<T>,
           {.grid = grid_for(x.numel() / 2, kThreads), .block = kThreads, .barrier_free = true},
           static_cast<float>(share), static_cast<float>(1 - share), x.data<T>(), x.dim(0), x.numel() / x.dim(0));
  });
}

void swap_with_reversed(int top, int left, int height, int width, Tensor& x) {
  const int64_t total = x.dim(0) / 2 * height * width * x.dim(3);
  dispatch_float(x.dtype(), [&]<typename T>() {
    launch(x.device(), swap_kernel<T>, {.grid = grid_for(total, kThreads), .block = kThreads, .barrier_free = true},
           Box{top, left, height, width}, x.data<T>(), x.dim(0), static_cast<int>(x.dim(1)), static_cast<int>(x.dim(2)),
           static_cast<int>(x.dim(3)));
  });
}

}  // namespace segrt::kernels::cuda
