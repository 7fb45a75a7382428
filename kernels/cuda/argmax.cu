#include "kernels/cuda/argmax.h"

#include "kernels/cuda/device.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarpsPerBlock = kThreads / kWarpSize;

struct Candidate {
  float value;
  int index;
};

// The larger value, a NaN above all; of equals the smaller index. Commutative, as warp_reduce asks.
struct Better {
  SEGRT_DEVICE Candidate operator()(const Candidate& a, const Candidate& b) const {
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    const bool equal = a_nan == b_nan && (a_nan || a.value == b.value);
    if (equal) return a.index < b.index ? a : b;
    return a_nan || (!b_nan && a.value > b.value) ? a : b;
  }
};

// A warp a row of C values; reads x once.
template <typename T, typename Y>
__global__ void argmax_kernel(const T* x, Y* y, int64_t rows, int channels) {
  const int64_t p = int64_t{block_index().x} * kWarpsPerBlock + warp_index();
  if (p >= rows) return;  // a warp leaves as a whole
  x += p * channels;
  // A lane without a class repeats class 0, which changes no result.
  Candidate best{to_float(x[0]), 0};
  for (int c = lane_index(); c < channels; c += kWarpSize) best = Better{}(best, Candidate{to_float(x[c]), c});
  best = warp_reduce(best, Better{});
  if (lane_index() == 0) y[p] = static_cast<Y>(best.index);
}

constexpr int kPixelsPerThread = 16;

// Tallies 16 consecutive pixels; equal neighbours, the rule in label maps, cost one atomic together.
template <typename Add>
SEGRT_DEVICE void tally(const uint8_t* labels, const uint8_t* predictions, int64_t begin, int64_t count, int classes,
                        bool vectors, const Add& add) {
  Vec<uint8_t, kPixelsPerThread> l, q;
  const int present = static_cast<int>(count - begin < kPixelsPerThread ? count - begin : kPixelsPerThread);
  if (vectors && present == kPixelsPerThread) {
    l = load_vec_streaming<uint8_t, kPixelsPerThread>(labels + begin);
    q = load_vec_streaming<uint8_t, kPixelsPerThread>(predictions + begin);
  } else {
    for (int k = 0; k < present; ++k) {
      l[k] = labels[begin + k];
      q[k] = predictions[begin + k];
    }
  }
  int cell = -1, run = 0;
  for (int k = 0; k < present; ++k) {
    if (l[k] >= classes || q[k] >= classes) continue;
    const int here = l[k] * classes + q[k];
    if (here != cell) {
      if (run > 0) add(cell, run);
      cell = here;
      run = 0;
    }
    ++run;
  }
  if (run > 0) add(cell, run);
}

struct AddToShared {
  int32_t* counts;
  SEGRT_DEVICE void operator()(int cell, int run) const { atomic_add(counts + cell, run); }
};
struct AddToGlobal {
  int64_t* matrix;
  SEGRT_DEVICE void operator()(int cell, int run) const { atomic_add(matrix + cell, static_cast<int64_t>(run)); }
};

// Each block tallies into shared memory and adds its table to the matrix at the end. Integer atomics: any order gives
// the same.
__global__ void confusion_shared_kernel(const uint8_t* labels, const uint8_t* predictions, int64_t* matrix,
                                        int64_t count, int classes, bool vectors) {
  auto* counts = dynamic_shared<int32_t>();
  const int cells = classes * classes;
  for (int i = linear_thread(); i < cells; i += block_threads()) counts[i] = 0;
  sync_block();
  for (int64_t t = global_index(); t * kPixelsPerThread < count; t += global_size())
    tally(labels, predictions, t * kPixelsPerThread, count, classes, vectors, AddToShared{counts});
  sync_block();
  for (int i = linear_thread(); i < cells; i += block_threads())
    if (counts[i] > 0) atomic_add(matrix + i, static_cast<int64_t>(counts[i]));
}

// The same without a table, for more classes than shared memory holds; the atomics spread over many cells.
__global__ void confusion_global_kernel(const uint8_t* labels, const uint8_t* predictions, int64_t* matrix,
                                        int64_t count, int classes, bool vectors) {
  for (int64_t t = global_index(); t * kPixelsPerThread < count; t += global_size())
    tally(labels, predictions, t * kPixelsPerThread, count, classes, vectors, AddToGlobal{matrix});
}

}  // namespace

void argmax(const Tensor& x, Tensor& y) {
  const int64_t channels = x.dim(-1), rows = y.numel();
  dispatch_float(x.dtype(), [&]<typename T>() {
    const LaunchConfig config{.grid = blocks_for(rows, kWarpsPerBlock), .block = kThreads};
    if (y.dtype() == DType::u8)
      launch(x.device(), argmax_kernel<T, uint8_t>, config, x.data<T>(), y.data<uint8_t>(), rows, channels);
    else
      launch(x.device(), argmax_kernel<T, int32_t>, config, x.data<T>(), y.data<int32_t>(), rows, channels);
  });
}

void confusion_matrix(const Tensor& labels, const Tensor& predictions, Tensor& matrix) {
  constexpr int64_t kMaxSharedBytes = 48 * 1024;
  const int64_t count = labels.numel(), classes = matrix.dim(0);
  const int64_t table_bytes = classes * classes * static_cast<int64_t>(sizeof(int32_t));
  const auto* l = labels.data<uint8_t>();
  const auto* q = predictions.data<uint8_t>();
  const bool vectors = is_aligned(l) && is_aligned(q);
  // Few blocks: each adds its whole table.
  const int64_t blocks = grid_for(ceil_div(count, kPixelsPerThread), kThreads, 264);
  if (table_bytes <= kMaxSharedBytes)
    launch(labels.device(), confusion_shared_kernel,
           {.grid = blocks, .block = kThreads, .shared_bytes = static_cast<size_t>(table_bytes)}, l, q,
           matrix.data<int64_t>(), count, classes, vectors);
  else
    launch(labels.device(), confusion_global_kernel, {.grid = blocks, .block = kThreads, .barrier_free = true}, l, q,
           matrix.data<int64_t>(), count, classes, vectors);
}

}  // namespace segrt::kernels::cuda
