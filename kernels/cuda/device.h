// All that a kernel may use of the GPU. tests/emulator/include/kernels/cuda/device.h has the same names for the CPU and
// takes this file's place in SEGRT_CUDA=EMULATE builds; docs/emulator.md explains how to write for both.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <bit>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "core/cuda/kernel_launch.h"
#include "core/device.h"
#include "core/dtype.h"
#include "kernels/cuda/vec.h"

#define SEGRT_DEVICE __device__ __forceinline__

namespace segrt::kernels::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kFullMask = 0xffffffffu;

// The place of a barrier or collective in the source: the emulator reports it, the GPU has no use for it.
struct Site {
  SEGRT_DEVICE static constexpr Site current() { return {}; }
};

// Runs `kernel` on the compute stream. Arguments are converted to the kernel's parameter types.
template <typename... Parameters, typename... Arguments>
void launch(Device& device, void (*kernel)(Parameters...), const LaunchConfig& config, Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "launch: wrong number of kernel arguments");
  static_assert((std::is_trivially_copyable_v<Parameters> && ...), "kernels take pointers and plain values");
  [&](Parameters... values) {
    void* pointers[] = {const_cast<void*>(static_cast<const volatile void*>(&values))..., nullptr};
    launch_kernel(device, reinterpret_cast<const void*>(kernel), config, pointers);
  }(static_cast<Parameters>(arguments)...);
}

// ---- indices

struct Index3 {
  int x, y, z;
};
SEGRT_DEVICE Index3 thread_index() {
  return {static_cast<int>(threadIdx.x), static_cast<int>(threadIdx.y), static_cast<int>(threadIdx.z)};
}
SEGRT_DEVICE Index3 block_index() {
  return {static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.z)};
}
SEGRT_DEVICE Index3 block_dim() {
  return {static_cast<int>(blockDim.x), static_cast<int>(blockDim.y), static_cast<int>(blockDim.z)};
}
SEGRT_DEVICE Index3 grid_dim() {
  return {static_cast<int>(gridDim.x), static_cast<int>(gridDim.y), static_cast<int>(gridDim.z)};
}

// ---- conditions of graph nodes

using GraphCondition = cudaGraphConditionalHandle;
// Decides whether the graph's IF node of this handle runs its body. One thread of one kernel before it calls this.
SEGRT_DEVICE void set_graph_condition(GraphCondition handle, bool value, Site = {}) {
  cudaGraphSetConditional(handle, value ? 1u : 0u);
}

// ---- shared memory, barriers

// The block's one S; S has no constructor, and its contents start undefined.
template <typename S>
SEGRT_DEVICE S& block_shared(Site = {}) {
  static_assert(std::is_trivially_default_constructible_v<S> && std::is_trivially_copyable_v<S>);
  __shared__ S shared;
  return shared;
}
// The LaunchConfig::shared_bytes bytes of the launch, aligned to 128.
template <typename T>
SEGRT_DEVICE T* dynamic_shared(Site = {}) {
  extern __shared__ __align__(128) unsigned char segrt_dynamic_shared[];
  return reinterpret_cast<T*>(segrt_dynamic_shared);
}

// Waits for every thread of the block, all at this same call; orders their memory accesses.
SEGRT_DEVICE void sync_block(Site = {}) { __syncthreads(); }
// Waits for the lanes of `mask`; orders their memory accesses. Shuffles and votes wait but do not order memory.
SEGRT_DEVICE void sync_warp(unsigned mask = kFullMask, Site = {}) { __syncwarp(mask); }
// Makes this thread's earlier writes visible to the device before its later ones.
SEGRT_DEVICE void fence() { __threadfence(); }

// ---- warp collectives: every lane of `mask` makes the same call

namespace detail {
// Moves any trivially copyable value in 32-bit pieces through `exchange`, which moves one.
template <typename T, typename Exchange>
SEGRT_DEVICE T exchange_words(T value, Exchange exchange) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 16);
  constexpr int kWords = (sizeof(T) + 3) / 4;
  unsigned words[kWords] = {};
  __builtin_memcpy(words, &value, sizeof(T));
#pragma unroll
  for (int i = 0; i < kWords; ++i) words[i] = exchange(words[i]);
  __builtin_memcpy(&value, words, sizeof(T));
  return value;
}
}  // namespace detail

// The value that lane source_lane (0..31) passes.
template <typename T>
SEGRT_DEVICE T warp_shuffle(T value, int source_lane, unsigned mask = kFullMask, Site = {}) {
  return detail::exchange_words(value, [=](unsigned word) { return __shfl_sync(mask, word, source_lane); });
}
// The value of the lane `delta` below; lanes 0..delta-1 keep their own.
template <typename T>
SEGRT_DEVICE T warp_shuffle_up(T value, int delta, unsigned mask = kFullMask, Site = {}) {
  return detail::exchange_words(
      value, [=](unsigned word) { return __shfl_up_sync(mask, word, static_cast<unsigned>(delta)); });
}
// The value of the lane `delta` above; the last `delta` lanes keep their own.
template <typename T>
SEGRT_DEVICE T warp_shuffle_down(T value, int delta, unsigned mask = kFullMask, Site = {}) {
  return detail::exchange_words(
      value, [=](unsigned word) { return __shfl_down_sync(mask, word, static_cast<unsigned>(delta)); });
}
// The value of lane (own lane ^ lane_bits).
template <typename T>
SEGRT_DEVICE T warp_shuffle_xor(T value, int lane_bits, unsigned mask = kFullMask, Site = {}) {
  return detail::exchange_words(value, [=](unsigned word) { return __shfl_xor_sync(mask, word, lane_bits); });
}
SEGRT_DEVICE bool warp_any(bool predicate, unsigned mask = kFullMask, Site = {}) {
  return __any_sync(mask, predicate) != 0;
}
SEGRT_DEVICE bool warp_all(bool predicate, unsigned mask = kFullMask, Site = {}) {
  return __all_sync(mask, predicate) != 0;
}
// Bit i: lane i is in `mask` and its predicate holds.
SEGRT_DEVICE unsigned warp_ballot(bool predicate, unsigned mask = kFullMask, Site = {}) {
  return __ballot_sync(mask, predicate);
}

// ---- atomics: relaxed, return the value before

namespace detail {
// CUDA's 64-bit overloads are for unsigned long long; uint64_t is unsigned long on Linux.
template <typename T>
struct AtomicWord {
  using type = T;
};
template <>
struct AtomicWord<uint64_t> {
  using type = unsigned long long;
};
template <>
struct AtomicWord<int64_t> {
  using type = long long;
};
template <typename T>
using atomic_word_t = typename AtomicWord<T>::type;
template <typename T>
SEGRT_DEVICE atomic_word_t<T>* atomic_word(T* p) {
  return reinterpret_cast<atomic_word_t<T>*>(p);
}
}  // namespace detail

// T: float, double, int32_t, uint32_t, int64_t, uint64_t. The order of float additions, and so the last bit, varies.
template <typename T>
SEGRT_DEVICE T atomic_add(T* p, std::type_identity_t<T> value) {
  if constexpr (std::is_same_v<T, int64_t>)  // two's complement: the unsigned sum has the same bits
    return static_cast<T>(atomicAdd(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(value)));
  else
    return static_cast<T>(atomicAdd(detail::atomic_word(p), static_cast<detail::atomic_word_t<T>>(value)));
}
// T: int32_t, uint32_t, int64_t, uint64_t.
template <typename T>
SEGRT_DEVICE T atomic_max(T* p, std::type_identity_t<T> value) {
  return static_cast<T>(atomicMax(detail::atomic_word(p), static_cast<detail::atomic_word_t<T>>(value)));
}
template <typename T>
SEGRT_DEVICE T atomic_min(T* p, std::type_identity_t<T> value) {
  return static_cast<T>(atomicMin(detail::atomic_word(p), static_cast<detail::atomic_word_t<T>>(value)));
}
// T: int32_t, uint32_t, uint64_t.
template <typename T>
SEGRT_DEVICE T atomic_exchange(T* p, std::type_identity_t<T> value) {
  return static_cast<T>(atomicExch(detail::atomic_word(p), static_cast<detail::atomic_word_t<T>>(value)));
}
// Writes `desired` where *p equals `expected`.
template <typename T>
SEGRT_DEVICE T atomic_cas(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> desired) {
  using Word = detail::atomic_word_t<T>;
  return static_cast<T>(atomicCAS(detail::atomic_word(p), static_cast<Word>(expected), static_cast<Word>(desired)));
}

// ---- loads and stores

namespace detail {
template <size_t kBytes>
struct Transaction;
template <>
struct Transaction<1> {
  using type = unsigned char;
};
template <>
struct Transaction<2> {
  using type = unsigned short;
};
template <>
struct Transaction<4> {
  using type = unsigned;
};
template <>
struct Transaction<8> {
  using type = uint2;
};
template <>
struct Transaction<16> {
  using type = uint4;
};

template <typename T, int K, typename Load>
SEGRT_DEVICE Vec<T, K> load_transactions(const T* p, Load load) {
  using Word = typename Transaction<vec_alignment(sizeof(T) * K)>::type;
  constexpr int kCount = static_cast<int>(sizeof(T) * K / sizeof(Word));
  Word words[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) words[i] = load(reinterpret_cast<const Word*>(p) + i);
  Vec<T, K> values;
  __builtin_memcpy(&values, words, sizeof(values));
  return values;
}
template <typename T, int K, typename Store>
SEGRT_DEVICE void store_transactions(T* p, const Vec<T, K>& values, Store store) {
  using Word = typename Transaction<vec_alignment(sizeof(T) * K)>::type;
  constexpr int kCount = static_cast<int>(sizeof(T) * K / sizeof(Word));
  Word words[kCount];
  __builtin_memcpy(words, &values, sizeof(values));
#pragma unroll
  for (int i = 0; i < kCount; ++i) store(reinterpret_cast<Word*>(p) + i, words[i]);
}
}  // namespace detail

// p is aligned to min(16, K * sizeof(T)) bytes: the GPU faults where it is not.
template <typename T, int K>
SEGRT_DEVICE Vec<T, K> load_vec(const T* p) {
  return detail::load_transactions<T, K>(p, [](auto* word) { return *word; });
}
template <typename T, int K>
SEGRT_DEVICE void store_vec(T* p, const Vec<T, K>& values) {
  detail::store_transactions(p, values, [](auto* word, auto value) { *word = value; });
}
// Streaming: data that is not used again soon and should not displace what is (evict-first in L1 and L2).
template <typename T, int K>
SEGRT_DEVICE Vec<T, K> load_vec_streaming(const T* p) {
  return detail::load_transactions<T, K>(p, [](auto* word) { return __ldcs(word); });
}
template <typename T, int K>
SEGRT_DEVICE void store_vec_streaming(T* p, const Vec<T, K>& values) {
  detail::store_transactions(p, values, [](auto* word, auto value) { __stcs(word, value); });
}
template <typename T>
SEGRT_DEVICE T load_streaming(const T* p) {
  return load_vec_streaming<T, 1>(p).v[0];
}
template <typename T>
SEGRT_DEVICE void store_streaming(T* p, std::type_identity_t<T> value) {
  store_vec_streaming(p, Vec<T, 1>{{value}});
}
// Data that no thread writes during this kernel (the read-only path).
template <typename T>
SEGRT_DEVICE T load_readonly(const T* p) {
  return detail::load_transactions<T, 1>(p, [](auto* word) { return __ldg(word); }).v[0];
}

// ---- conversion and arithmetic

SEGRT_DEVICE float to_float(float x) { return x; }
SEGRT_DEVICE float to_float(bf16 x) { return static_cast<float>(x); }
SEGRT_DEVICE float to_float(f16 x) { return __half2float(__ushort_as_half(x.bits)); }
SEGRT_DEVICE float to_float(int32_t x) { return static_cast<float>(x); }
SEGRT_DEVICE float to_float(uint8_t x) { return static_cast<float>(x); }

// Rounds to nearest, ties to even. T: float, bf16, f16.
template <typename T>
SEGRT_DEVICE T from_float(float x) {
  if constexpr (std::is_same_v<T, bf16>) {
    return std::bit_cast<bf16>(__bfloat16_as_ushort(__float2bfloat16_rn(x)));
  } else if constexpr (std::is_same_v<T, f16>) {
    return std::bit_cast<f16>(__half_as_ushort(__float2half_rn(x)));
  } else {
    static_assert(std::is_same_v<T, float>, "from_float: float, bf16 or f16");
    return x;
  }
}

// Approximations with the bounds of the CUDA C++ Programming Guide, "Intrinsic Functions".
SEGRT_DEVICE float exp_fast(float x) { return __expf(x); }  // 2 + floor(|1.173 x|) ulp
SEGRT_DEVICE float log_fast(float x) { return __logf(x); }  // 2^-21.41 absolute in [0.5, 2], else 3 ulp
SEGRT_DEVICE float divide_fast(float a, float b) { return __fdividef(a, b); }  // 2 ulp for |b| in [2^-126, 2^126]
SEGRT_DEVICE float reciprocal_fast(float x) { return __fdividef(1.0f, x); }    // 2 ulp
SEGRT_DEVICE float rsqrt_fast(float x) { return rsqrtf(x); }                   // 2 ulp
SEGRT_DEVICE bool is_finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

}  // namespace segrt::kernels::cuda

#include "kernels/cuda/collectives.h"  // what is built from the above, the same for GPU and emulator
