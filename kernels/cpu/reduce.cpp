#include "kernels/cpu/reduce.h"

#include <array>
#include <bit>
#include <cmath>
#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/column_tasks.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {

// sums[c] = sum of one task's rows: float (double for double) within a block, float64 across.
template <typename T>
void task_sums(const T* x, const ColumnTask& task, int64_t pitch, double* sums) {
  using Acc = accumulator_t<T>;
  const int64_t columns = task.columns, joined = joined_rows(task.end - task.begin, columns, pitch);
  std::array<Acc, 256> scratch;  // the widest tile, and the widest joined rows
  std::fill_n(sums, columns, 0.0);
  for_blocks(task.begin, task.end, columns, [&](int64_t row, int64_t rows) {
    const T* block = x + row * pitch + task.first;
    std::fill_n(scratch.begin(), joined * columns, Acc{0});
    for_joined_rows(rows, joined, columns, pitch, [&](int64_t offset, int64_t n) {
      for (int64_t i = 0; i < n; ++i) scratch[static_cast<size_t>(i)] += static_cast<Acc>(block[offset + i]);
    });
    fold(scratch.data(), joined * columns, columns);
    for (int64_t c = 0; c < columns; ++c) sums[c] += static_cast<double>(scratch[static_cast<size_t>(c)]);
  });
}

// Sum of f(begin, end) over fixed chunks of [0, count), in order.
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
  const int64_t outer = x.dim(0), rows = x.dim(1), columns = x.dim(2);
  const ColumnTasks tasks(outer, rows, columns);
  std::vector<double> partial(tasks.partials());
  dispatch_real(x.dtype(), [&]<typename T>() {
    tasks.for_each([&](const ColumnTask& task) {
      task_sums(x.data<T>() + task.outer * rows * columns, task, columns, partial.data() + tasks.partial_offset(task));
    });
  });
  dispatch_real(y.dtype(), [&]<typename T>() {
    T* yp = y.data<T>();
    parallel_ranges(outer * columns, 4096 / tasks.chunks(), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const double* part = partial.data() + i / columns * tasks.chunks() * columns + i % columns;
        double total = 0;
        for (int64_t k = 0; k < tasks.chunks(); ++k) total += part[k * columns];
        yp[i] = static_cast<T>(static_cast<accumulator_t<T>>(total));
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
