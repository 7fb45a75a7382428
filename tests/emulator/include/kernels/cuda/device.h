// The emulator's device.h: same names as kernels/cuda/device.h, on the CPU. Kernels compile as ordinary functions and
// run as fibers under tests/emulator. See docs/emulator.md.
#pragma once

#include <atomic>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "core/cuda/kernel_launch.h"
#include "core/device.h"
#include "core/dtype.h"
#include "emulator/kernel.h"
#include "emulator/thread.h"
#include "kernels/cuda/vec.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define SEGRT_DEVICE inline

namespace segrt::kernels::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kFullMask = 0xffffffffu;

using Site = emulator::Site;
using emulator::Index3;

namespace detail {
template <typename... Parameters>
std::function<void()> bind_kernel(const void* function, void** arguments) {
  return [&]<size_t... kIndex>(std::index_sequence<kIndex...>)->std::function<void()> {
    const auto kernel = reinterpret_cast<void (*)(Parameters...)>(const_cast<void*>(function));
    const std::tuple<Parameters...> values{*static_cast<Parameters*>(arguments[kIndex])...};
    return [kernel, values] { std::apply(kernel, values); };
  }
  (std::index_sequence_for<Parameters...>{});
}
}  // namespace detail

template <typename... Parameters, typename... Arguments>
void launch(Device& device, void (*kernel)(Parameters...), const LaunchConfig& config, Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "launch: wrong number of kernel arguments");
  static_assert((std::is_trivially_copyable_v<Parameters> && ...), "kernels take pointers and plain values");
  const emulator::Kernel descriptor{reinterpret_cast<const void*>(kernel), config.barrier_free, config.where,
                                    detail::bind_kernel<std::remove_const_t<Parameters>...>};
  [&](Parameters... values) {
    void* pointers[] = {const_cast<void*>(static_cast<const volatile void*>(&values))..., nullptr};
    launch_kernel(device, &descriptor, config, pointers);
  }(static_cast<Parameters>(arguments)...);
}

// ---- indices

inline Index3 thread_index() { return emulator::this_thread().index; }
inline Index3 block_index() { return emulator::this_thread().place->block; }
inline Index3 block_dim() { return emulator::this_thread().place->block_dim; }
inline Index3 grid_dim() { return emulator::this_thread().place->grid_dim; }

// ---- conditions of graph nodes

using GraphCondition = unsigned long long;
inline void set_graph_condition(GraphCondition handle, bool value, const Site& site = Site::current()) {
  emulator::set_condition(handle, value ? 1u : 0u, site);
}

// ---- shared memory, barriers

namespace detail {
template <typename S>
inline constexpr char shared_key = 0;  // its address stands for S
}  // namespace detail

template <typename S>
S& block_shared(const Site& site = Site::current()) {
  static_assert(std::is_trivially_default_constructible_v<S> && std::is_trivially_copyable_v<S>);
  static_assert(alignof(S) <= 128);
  return *static_cast<S*>(emulator::block_memory(&detail::shared_key<S>, sizeof(S), site));
}
template <typename T>
T* dynamic_shared(const Site& site = Site::current()) {
  return static_cast<T*>(emulator::dynamic_memory(site));
}
inline void sync_block(const Site& site = Site::current()) { emulator::sync_block(site); }
inline void sync_warp(unsigned mask = kFullMask, const Site& site = Site::current()) {
  emulator::sync_warp(mask, site);
}
inline void fence() {}

// ---- warp collectives

namespace detail {
inline int own_lane() { return emulator::this_thread().linear % kWarpSize; }

template <typename T>
T exchange(const char* what, T value, int source_lane, unsigned mask, const Site& site) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 16);
  emulator::WarpOffer offer;
  std::memcpy(offer.value, &value, sizeof(T));
  offer.source_lane = source_lane;
  const emulator::WarpResult result = emulator::warp_exchange(what, offer, mask, site);
  std::memcpy(&value, result.value, sizeof(T));
  return value;
}
inline unsigned vote(const char* what, bool predicate, unsigned mask, const Site& site) {
  emulator::WarpOffer offer;
  offer.source_lane = own_lane();
  offer.predicate = predicate;
  return emulator::warp_exchange(what, offer, mask, site).ballot;
}
}  // namespace detail

template <typename T>
T warp_shuffle(T value, int source_lane, unsigned mask = kFullMask, const Site& site = Site::current()) {
  return detail::exchange("warp_shuffle", value, source_lane & (kWarpSize - 1), mask, site);
}
template <typename T>
T warp_shuffle_up(T value, int delta, unsigned mask = kFullMask, const Site& site = Site::current()) {
  const int lane = detail::own_lane();
  return detail::exchange("warp_shuffle_up", value, lane >= delta ? lane - delta : lane, mask, site);
}
template <typename T>
T warp_shuffle_down(T value, int delta, unsigned mask = kFullMask, const Site& site = Site::current()) {
  const int lane = detail::own_lane();
  return detail::exchange("warp_shuffle_down", value, lane + delta < kWarpSize ? lane + delta : lane, mask, site);
}
template <typename T>
T warp_shuffle_xor(T value, int lane_bits, unsigned mask = kFullMask, const Site& site = Site::current()) {
  return detail::exchange("warp_shuffle_xor", value, (detail::own_lane() ^ lane_bits) & (kWarpSize - 1), mask, site);
}
inline bool warp_any(bool predicate, unsigned mask = kFullMask, const Site& site = Site::current()) {
  return detail::vote("warp_any", predicate, mask, site) != 0;
}
inline bool warp_all(bool predicate, unsigned mask = kFullMask, const Site& site = Site::current()) {
  return detail::vote("warp_all", !predicate, mask, site) == 0;
}
inline unsigned warp_ballot(bool predicate, unsigned mask = kFullMask, const Site& site = Site::current()) {
  return detail::vote("warp_ballot", predicate, mask, site);
}

// ---- atomics: one OS thread runs a launch, but ThreadSanitizer must see that these do not race

template <typename T>
T atomic_add(T* p, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*p).fetch_add(value, std::memory_order_relaxed);
}
namespace detail {
template <typename T, typename Update>
T atomic_update(T* p, Update update) {
  const std::atomic_ref<T> word(*p);
  T old = word.load(std::memory_order_relaxed);
  while (!word.compare_exchange_weak(old, update(old), std::memory_order_relaxed)) {
  }
  return old;
}
}  // namespace detail
template <typename T>
T atomic_max(T* p, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T> && sizeof(T) >= 4, "no such atomic on a GPU");
  return detail::atomic_update(p, [=](T old) { return old < value ? value : old; });
}
template <typename T>
T atomic_min(T* p, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T> && sizeof(T) >= 4, "no such atomic on a GPU");
  return detail::atomic_update(p, [=](T old) { return value < old ? value : old; });
}
template <typename T>
T atomic_exchange(T* p, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T> && sizeof(T) >= 4 && !std::is_same_v<T, int64_t>, "no such atomic on a GPU");
  return std::atomic_ref<T>(*p).exchange(value, std::memory_order_relaxed);
}
template <typename T>
T atomic_cas(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> desired) {
  static_assert(std::is_integral_v<T> && sizeof(T) >= 4 && !std::is_same_v<T, int64_t>, "no such atomic on a GPU");
  std::atomic_ref<T>(*p).compare_exchange_strong(expected, desired, std::memory_order_relaxed);
  return expected;
}

// ---- loads and stores

template <typename T, int K>
Vec<T, K> load_vec(const T* p, const Site& site = Site::current()) {
  if (!is_aligned(p, alignof(Vec<T, K>))) emulator::fail_alignment(p, alignof(Vec<T, K>), site);
  Vec<T, K> values;
  for (int k = 0; k < K; ++k) values.v[k] = p[k];
  return values;
}
template <typename T, int K>
void store_vec(T* p, const Vec<T, K>& values, const Site& site = Site::current()) {
  if (!is_aligned(p, alignof(Vec<T, K>))) emulator::fail_alignment(p, alignof(Vec<T, K>), site);
  for (int k = 0; k < K; ++k) p[k] = values.v[k];
}
template <typename T, int K>
Vec<T, K> load_vec_streaming(const T* p, const Site& site = Site::current()) {
  return load_vec<T, K>(p, site);
}
template <typename T, int K>
void store_vec_streaming(T* p, const Vec<T, K>& values, const Site& site = Site::current()) {
  store_vec(p, values, site);
}
template <typename T>
T load_streaming(const T* p) {
  return *p;
}
template <typename T>
void store_streaming(T* p, std::type_identity_t<T> value) {
  *p = value;
}
template <typename T>
T load_readonly(const T* p) {
  return *p;
}

// ---- conversion and arithmetic

inline float to_float(float x) { return x; }
inline float to_float(bf16 x) { return static_cast<float>(x); }
inline float to_float(f16 x) { return static_cast<float>(x); }
inline float to_float(int32_t x) { return static_cast<float>(x); }
inline float to_float(uint8_t x) { return static_cast<float>(x); }

template <typename T>
T from_float(float x) {
  static_assert(std::is_same_v<T, float> || is_half_v<T>, "from_float: float, bf16 or f16");
  return static_cast<T>(x);
}

inline float exp_fast(float x) { return std::exp(x); }
inline float log_fast(float x) { return std::log(x); }
inline float divide_fast(float a, float b) { return a / b; }
inline float reciprocal_fast(float x) { return 1.0f / x; }
inline float rsqrt_fast(float x) { return 1.0f / std::sqrt(x); }
inline bool is_finite(float x) { return (std::bit_cast<uint32_t>(x) & 0x7f800000u) != 0x7f800000u; }

}  // namespace segrt::kernels::cuda

#include "kernels/cuda/collectives.h"
