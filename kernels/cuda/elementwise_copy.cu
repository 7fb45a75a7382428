#include "kernels/cuda/channel_tiles.cuh"
#include "kernels/cuda/device.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/tensor_table.cuh"
#include "kernels/cuda/wide_divisor.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cuda {
namespace {
constexpr int kThreads = 256;

// Calls f.template operator()<T>() with T the type of `dtype`, any but f64.
template <typename F>
void dispatch_stored(DType dtype, const F& f) {
  switch (dtype) {
    case DType::u8: return f.template operator()<uint8_t>();
    case DType::i32: return f.template operator()<int32_t>();
    case DType::i64: return f.template operator()<int64_t>();
    default: dispatch_float(dtype, f);
  }
}

// All bits of one element, the widest first.
template <typename Word>
__global__ void fill_kernel(Word* y, Word value, int64_t n) {
  for (int64_t i = global_index(); i < n; i += global_size()) y[i] = value;
}

template <typename T>
SEGRT_DEVICE float cast_to_float(T value) {
  if constexpr (std::is_same_v<T, int64_t>)
    return static_cast<float>(value);
  else
    return to_float(value);
}

template <typename From, typename To, int V>
SEGRT_DEVICE void cast_vector(const From* x, To* y) {
  const Vec<From, V> from = load_vec<From, V>(x);
  Vec<To, V> to;
#pragma unroll
  for (int k = 0; k < V; ++k) to[k] = from_float<To>(cast_to_float(from[k]));
  store_vec(y, to);
}

struct Nothing {};

// A block converts its part of one tensor; 4 elements an access. Reads and writes every element once.
template <typename From, typename To>
__global__ void cast_kernel(TensorTable<2, Nothing> table, int tensors) {
  const TablePart part = table_part(table, tensors);
  const From* x = static_cast<const From*>(table.p[part.tensor][0]);
  To* y = static_cast<To*>(table.p[part.tensor][1]);
  for_part(part, is_aligned(x) && is_aligned(y), [&]<int V>(int64_t i) { cast_vector<From, To, V>(x + i, y + i); });
}

template <typename Pairs>
void cast_all(Device& device, DType from, DType to, const Pairs& pairs) {
  dispatch_stored(from, [&]<typename From>() {
    dispatch_float(to, [&]<typename To>() {
      const auto run = [&](const TensorTable<2, Nothing>& table, int tensors, int64_t blocks) {
        launch(device, cast_kernel<From, To>, {.grid = blocks, .block = kTableThreads, .barrier_free = true}, table,
               tensors);
      };
      TableLauncher<2, Nothing, decltype(run)> launcher(run);
      for (const auto& [x, y] : pairs) launcher.add({x.raw(), y.raw()}, x.numel(), {});
      launcher.flush();
    });
  });
}

// `rows` rows of `words` words between two pitches (in words). One thread a word, neighbours next to each other.
template <typename Word>
__global__ void copy_rows_kernel(const Word* from, int64_t from_pitch, Word* to, int64_t to_pitch, WideDivisor words,
                                 int64_t n) {
  for (int64_t i = global_index(); i < n; i += global_size()) {
    const int64_t row = words(i), column = i - row * words.extent();
    to[row * to_pitch + column] = from[row * from_pitch + column];
  }
}

// Rows of row_bytes bytes in the widest word that divides all of addresses, pitches and row.
void copy_rows(Device& device, const void* from, int64_t from_pitch, void* to, int64_t to_pitch, int64_t rows,
               int64_t row_bytes) {
  const auto run = [&]<typename Word>() {
    constexpr int64_t kSize = sizeof(Word);
    if (!is_aligned(from, kSize) || !is_aligned(to, kSize) || from_pitch % kSize || to_pitch % kSize ||
        row_bytes % kSize)
      return false;
    const int64_t words = row_bytes / kSize, n = rows * words;
    launch(device, copy_rows_kernel<Word>, {.grid = grid_for(n, kThreads), .block = kThreads, .barrier_free = true},
           static_cast<const Word*>(from), from_pitch / kSize, static_cast<Word*>(to), to_pitch / kSize,
           WideDivisor(words, n), n);
    return true;
  };
  static_cast<void>(run.template operator()<Vec<uint32_t, 4>>() || run.template operator()<uint64_t>() ||
                    run.template operator()<uint32_t>() || run.template operator()<uint16_t>() ||
                    run.template operator()<uint8_t>());
}
}  // namespace

void fill(Tensor& y, double value) {
  const auto run = [&](auto word) {
    using Word = decltype(word);
    launch(y.device(), fill_kernel<Word>,
           {.grid = grid_for(y.numel(), kThreads), .block = kThreads, .barrier_free = true},
           static_cast<Word*>(y.raw()), word, y.numel());
  };
  switch (y.dtype()) {
    case DType::u8: return run(static_cast<uint8_t>(value));
    case DType::bf16: return run(bf16(static_cast<float>(value)).bits);
    case DType::f16: return run(f16(static_cast<float>(value)).bits);
    case DType::f32: return run(static_cast<float>(value));
    case DType::i32: return run(static_cast<int32_t>(value));
    default: return run(static_cast<int64_t>(value));
  }
}

void cast(const Tensor& x, Tensor& y) {
  if (x.dtype() == y.dtype()) {
    if (x.raw() != y.raw()) x.device().copy_within(y.raw(), x.raw(), x.nbytes());
    return;
  }
  cast_all(x.device(), x.dtype(), y.dtype(), std::array{CastPair{x, y}});
}

void cast_many(const std::vector<CastPair>& pairs) {
  const CastPair& first = pairs.front();
  cast_all(first.from.device(), first.from.dtype(), first.to.dtype(), pairs);
}

void copy_into_channels(const Tensor& x, Tensor& y, int64_t offset) {
  const auto size = static_cast<int64_t>(size_of(x.dtype()));
  const int64_t row = x.dim(-1) * size;
  copy_rows(x.device(), x.raw(), row, static_cast<char*>(y.raw()) + offset * size, y.dim(-1) * size,
            x.numel() / x.dim(-1), row);
}

void copy_from_channels(const Tensor& x, int64_t offset, Tensor& y) {
  const auto size = static_cast<int64_t>(size_of(x.dtype()));
  const int64_t row = y.dim(-1) * size;
  copy_rows(x.device(), static_cast<const char*>(x.raw()) + offset * size, x.dim(-1) * size, y.raw(), row,
            y.numel() / y.dim(-1), row);
}

}  // namespace segrt::kernels::cuda
