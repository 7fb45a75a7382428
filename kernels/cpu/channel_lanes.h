// Rows of channels in vectors of the CPU's width. The last, partial vector is padded with zeros, so that there is one
// loop body for all of them and no loop over single channels.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cpu/vector_math.h"

namespace segrt::kernels::cpu {

// body(c, n) for c = 0, kLanes, ...: n is kLanes<A>, known at compile time, and what remains in the last call.
template <typename A, typename Body>
inline void for_lanes(int64_t channels, const Body& body) {
  constexpr int64_t kWhole = kLanes<A>;
  int64_t c = 0;
  for (; c + kWhole <= channels; c += kWhole) body(c, std::integral_constant<int64_t, kWhole>());
  if (c < channels) body(c, channels - c);
}

// n elements of storage type T, as accumulators; zeros behind them.
template <typename T, typename Count>
inline Lanes<accumulator_t<T>> load_lanes(const T* p, Count n) {
  using A = accumulator_t<T>;
  constexpr bool kWhole = !std::is_same_v<Count, int64_t>;
  if constexpr (kWhole && std::is_same_v<T, A>) {
    return load(p);
  } else {
    A values[kLanes<A>] = {};
    widen(p, values, n);
    return load(values);
  }
}

template <typename T, typename Count>
inline void store_lanes(T* p, const Lanes<accumulator_t<T>>& v, Count n) {
  using A = accumulator_t<T>;
  constexpr bool kWhole = !std::is_same_v<Count, int64_t>;
  if constexpr (kWhole && std::is_same_v<T, A>) {
    store(p, v);
  } else {
    A values[kLanes<A>];
    store(values, v);
    narrow(values, p, n);
  }
}

}  // namespace segrt::kernels::cpu
