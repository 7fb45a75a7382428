#include <bit>
#include <cmath>
#include <cstring>

#include "core/parallel.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/map_chunks.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {

template <typename F>
void dispatch_any(DType dtype, const F& f) {
  switch (dtype) {
    case DType::u8: return f.template operator()<uint8_t>();
    case DType::i32: return f.template operator()<int32_t>();
    case DType::i64: return f.template operator()<int64_t>();
    default: dispatch_real(dtype, f);
  }
}

// float64 to float32 by rounding to odd: a later rounding to 16 bits then equals a direct one.
float round_to_odd(double value) {
  const float nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || !std::isfinite(nearest)) return nearest;
  uint32_t bits = std::bit_cast<uint32_t>(nearest);
  if (std::abs(static_cast<double>(nearest)) > std::abs(value)) --bits;  // towards zero
  return std::bit_cast<float>(bits | 1u);
}

template <typename To, typename From>
To converted(From value) {
  if constexpr (is_half_v<To> && std::is_same_v<From, double>)
    return To(round_to_odd(value));
  else if constexpr (is_half_v<To> || is_half_v<From>)
    return static_cast<To>(static_cast<float>(value));
  else
    return static_cast<To>(value);
}

template <typename From, typename To>
void convert(const From* x, To* y, int64_t count) {
  parallel_ranges(count, kMapGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = converted<To>(x[i]);
  });
}

// `rows` rows of row_bytes bytes between two pitches.
void copy_rows(const void* from, int64_t from_pitch, void* to, int64_t to_pitch, int64_t rows, int64_t row_bytes) {
  const int64_t grain = std::max<int64_t>(1, 65536 / row_bytes);
  parallel_ranges(rows, grain, [&](int64_t begin, int64_t end) {
    const char* source = static_cast<const char*>(from) + begin * from_pitch;
    char* target = static_cast<char*>(to) + begin * to_pitch;
    for (int64_t r = begin; r < end; ++r, source += from_pitch, target += to_pitch)
      std::memcpy(target, source, static_cast<size_t>(row_bytes));
  });
}
}  // namespace

void fill(Tensor& y, double value) {
  dispatch_any(y.dtype(), [&]<typename T>() {
    const T v = converted<T>(value);
    T* p = y.data<T>();
    parallel_ranges(y.numel(), kMapGrain, [&](int64_t begin, int64_t end) { std::fill(p + begin, p + end, v); });
  });
}

void cast(const Tensor& x, Tensor& y) {
  if (x.dtype() == y.dtype()) {
    if (x.raw() != y.raw()) x.device().copy_within(y.raw(), x.raw(), x.nbytes());
    return;
  }
  dispatch_any(x.dtype(), [&]<typename From>() {
    dispatch_real(y.dtype(), [&]<typename To>() { convert(x.data<From>(), y.data<To>(), x.numel()); });
  });
}

void cast_many(const std::vector<CastPair>& pairs) {
  for (const CastPair& pair : pairs) {
    Tensor to = pair.to;
    if (to.numel() > 0) cast(pair.from, to);
  }
}

void copy_into_channels(const Tensor& x, Tensor& y, int64_t offset) {
  const auto size = static_cast<int64_t>(size_of(x.dtype()));
  const int64_t row = x.dim(-1) * size;
  copy_rows(x.raw(), row, static_cast<char*>(y.raw()) + offset * size, y.dim(-1) * size, x.numel() / x.dim(-1), row);
}

void copy_from_channels(const Tensor& x, int64_t offset, Tensor& y) {
  const auto size = static_cast<int64_t>(size_of(x.dtype()));
  const int64_t row = y.dim(-1) * size;
  copy_rows(static_cast<const char*>(x.raw()) + offset * size, x.dim(-1) * size, y.raw(), row, y.numel() / y.dim(-1),
            row);
}

}  // namespace segrt::kernels::cpu
