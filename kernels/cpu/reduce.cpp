#include "kernels/cpu/reduce.h"

#include <bit>
#include <cmath>

#include "core/parallel.h"
#include "kernels/cpu/channel_rows.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {
constexpr int64_t kTaskElements = 32768;
constexpr int64_t kMaxColumns = 2048;  // of one task: its float sums stay in L1

// sums[c] += sum over `rows` rows of `columns` columns, `pitch` elements apart; float (double for double) within a
// block, float64 across. scratch: wide_row(columns) elements.
template <typename T>
void add_rows(const T* x, int64_t rows, int64_t columns, int64_t pitch, accumulator_t<T>* scratch, double* sums) {
  using Acc = accumulator_t<T>;
  // Contiguous rows may be joined to wide ones, but not to more than there are.
  const int64_t joined = columns == pitch ? std::min(rows, wide_row(columns) / columns) : 1;
  const int64_t width = joined * columns;
  for (int64_t row = 0; row < rows; row += block_rows(columns)) {
    const int64_t last = std::min(rows, row + block_rows(columns));
    std::fill_n(scratch, width, Acc{0});
    for (int64_t r = row; r < last; r += joined) {
      const int64_t n = std::min(width, (last - r) * columns);
      const T* xr = x + r * pitch;
      for (int64_t i = 0; i < n; ++i) scratch[i] += static_cast<Acc>(xr[i]);
    }
    fold(scratch, width, columns);
    for (int64_t c = 0; c < columns; ++c) sums[c] += static_cast<double>(scratch[c]);
  }
}

// The tasks of a sum over [A, R, C]: tiles of columns by chunks of rows, for each a.
struct SumTasks {
  SumTasks(int64_t outer_, int64_t rows_, int64_t columns_) : outer(outer_), rows(rows_), columns(columns_) {
    tile = std::min(columns, kMaxColumns);
    tiles = (columns + tile - 1) / tile;
    chunk = std::max((kTaskElements + tile - 1) / tile, (rows + 127) / 128);
    chunks = (rows + chunk - 1) / chunk;
  }
  int64_t count() const { return outer * tiles * chunks; }
  int64_t elements() const { return tile * std::min(rows, chunk); }  // of one task

  int64_t outer, rows, columns, tile, tiles, chunk, chunks;
};

template <typename T>
void partial_sums(const T* x, const SumTasks& tasks, int64_t begin, int64_t end, double* partial) {
  std::vector<accumulator_t<T>> scratch(static_cast<size_t>(wide_row(tasks.tile)));
  for (int64_t task = begin; task < end; ++task) {
    const int64_t a = task / (tasks.tiles * tasks.chunks), k = task / tasks.tiles % tasks.chunks;
    const int64_t first = task % tasks.tiles * tasks.tile, columns = std::min(tasks.tile, tasks.columns - first);
    const int64_t row = k * tasks.chunk, rows = std::min(tasks.chunk, tasks.rows - row);
    add_rows(x + (a * tasks.rows + row) * tasks.columns + first, rows, columns, tasks.columns, scratch.data(),
             partial + (a * tasks.chunks + k) * tasks.columns + first);
  }
}

// f(begin, end, partial) -> sum in float64 of fixed chunks of [0, count), in order.
template <typename R, typename F>
R sum_chunks(int64_t count, const F& f) {
  constexpr int64_t kChunk = 1 << 16;
  std::vector<R> partial(static_cast<size_t>((count + kChunk - 1) / kChunk));
  parallel_for(static_cast<int64_t>(partial.size()),
               [&](int64_t i) { partial[static_cast<size_t>(i)] = f(i * kChunk, std::min(count, (i + 1) * kChunk)); });
  R sum = 0;
  for (const R v : partial) sum += v;
  return sum;
}

template <typename T>
double squares(const T* x, int64_t count) {
  using Acc = accumulator_t<T>;
  return sum_chunks<double>(count, [&](int64_t begin, int64_t end) {
    constexpr int64_t kLanes = 64, kBlock = 4096;
    double sum = 0;
    for (int64_t block = begin; block < end; block += kBlock) {
      const int64_t last = std::min(end, block + kBlock);
      std::array<Acc, kLanes> lanes{};
      int64_t i = block;
      for (; i + kLanes <= last; i += kLanes)
        for (int64_t k = 0; k < kLanes; ++k) {
          const Acc v = static_cast<Acc>(x[i + k]);
          lanes[static_cast<size_t>(k)] += v * v;
        }
      for (const Acc lane : lanes) sum += static_cast<double>(lane);
      for (; i < last; ++i) {
        const Acc v = static_cast<Acc>(x[i]);
        sum += static_cast<double>(v * v);
      }
    }
    return sum;
  });
}

// All exponent bits set: infinity or NaN.
bool is_nonfinite(float v) { return (std::bit_cast<uint32_t>(v) & 0x7f800000u) == 0x7f800000u; }
bool is_nonfinite(bf16 v) { return (v.bits & 0x7f80u) == 0x7f80u; }
bool is_nonfinite(f16 v) { return (v.bits & 0x7c00u) == 0x7c00u; }
bool is_nonfinite(double v) { return (std::bit_cast<uint64_t>(v) & 0x7ff0000000000000u) == 0x7ff0000000000000u; }

template <typename T>
int32_t nonfinite(const T* x, int64_t count) {
  return sum_chunks<int32_t>(count, [&](int64_t begin, int64_t end) {
    int32_t n = 0;
    for (int64_t i = begin; i < end; ++i) n += is_nonfinite(x[i]) ? 1 : 0;
    return n;
  });
}
}  // namespace

void sum_middle(const Tensor& x, Tensor& y) {
  const SumTasks tasks(x.dim(0), x.dim(1), x.dim(2));
  std::vector<double> partial(static_cast<size_t>(tasks.outer * tasks.chunks * tasks.columns));
  dispatch_real(x.dtype(), [&]<typename T>() {
    parallel_ranges(tasks.count(), std::max<int64_t>(1, kTaskElements / tasks.elements()),
                    [&](int64_t begin, int64_t end) { partial_sums(x.data<T>(), tasks, begin, end, partial.data()); });
  });
  dispatch_real(y.dtype(), [&]<typename T>() {
    T* yp = y.data<T>();
    parallel_ranges(tasks.outer, std::max<int64_t>(1, kTaskElements / (tasks.columns * tasks.chunks)),
                    [&](int64_t begin, int64_t end) {
                      for (int64_t a = begin; a < end; ++a) {
                        double* total = partial.data() + a * tasks.chunks * tasks.columns;
                        for (int64_t k = 1; k < tasks.chunks; ++k)
                          for (int64_t c = 0; c < tasks.columns; ++c) total[c] += total[k * tasks.columns + c];
                        for (int64_t c = 0; c < tasks.columns; ++c)
                          yp[a * tasks.columns + c] = static_cast<T>(static_cast<accumulator_t<T>>(total[c]));
                      }
                    });
  });
}

void global_norm(const std::vector<Tensor>& tensors, Tensor& out) {
  double sum = 0;
  for (const Tensor& t : tensors)
    dispatch_real(t.dtype(), [&]<typename T>() { sum += squares(t.data<T>(), t.numel()); });
  if (out.dtype() == DType::f64)
    out.data<double>()[0] = std::sqrt(sum);
  else
    out.data<float>()[0] = static_cast<float>(std::sqrt(sum));
}

void count_nonfinite(const std::vector<Tensor>& tensors, Tensor& counts) {
  for (size_t i = 0; i < tensors.size(); ++i)
    dispatch_real(tensors[i].dtype(), [&]<typename T>() {
      counts.data<int32_t>()[i] = nonfinite(tensors[i].data<T>(), tensors[i].numel());
    });
}

}  // namespace segrt::kernels::cpu
