// Matrix fragments against float64 products of the rounded inputs.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "core/tensor.h"
#include "emulator/control.h"
#include "kernels/cuda/mma.h"

namespace segrt::kernels::cuda {
namespace {

// One warp a 16x16 tile of C = A B + C0, through all layouts. A [m,k], B [k,n] as kernels see them.
template <typename T, MmaLayout LA, MmaLayout LB>
__global__ void matmul_kernel(const T* a, const T* b, const float* c0, float* c, int m, int n, int k) {
  const int row = warp_index() * kMmaM, column = block_index().x * kMmaN;
  MmaAccumulator<T> sum;
  mma_load(sum, c0 + row * n + column, n);
  for (int at = 0; at < k; at += kMmaK<T>) {
    MmaA<T, LA> fragment_a;
    MmaB<T, LB> fragment_b;
    if constexpr (LA == MmaLayout::row_major)
      mma_load(fragment_a, a + row * k + at, k);
    else
      mma_load(fragment_a, a + at * m + row, m);
    if constexpr (LB == MmaLayout::row_major)
      mma_load(fragment_b, b + at * n + column, n);
    else
      mma_load(fragment_b, b + column * k + at, k);
    mma_sync(sum, fragment_a, fragment_b);
  }
  mma_store(c + row * n + column, sum, n);
}

// Several accumulators, staged through shared memory, as a convolution's tiles are.
struct Stage {
  alignas(32) bf16 a[16 * 32];
  alignas(32) float c[16 * 32];
};
__global__ void staged_kernel(const bf16* a, const bf16* b, float* c) {
  auto& stage = block_shared<Stage>();
  const int lane = lane_index();
  for (int i = lane; i < 16 * 32; i += kWarpSize) stage.a[i] = a[i];
  sync_warp();
  MmaAccumulator<bf16> sums[2];
  for (auto& sum : sums) mma_fill(sum, 1.0f);
  for (int at = 0; at < 32; at += 16) {
    MmaA<bf16> fa;
    mma_load(fa, stage.a + at, 32);
    for (int j = 0; j < 2; ++j) {
      MmaB<bf16> fb;
      mma_load(fb, b + at * 32 + j * 16, 32);
      mma_sync(sums[j], fa, fb);
    }
  }
  for (int j = 0; j < 2; ++j) mma_store(stage.c + j * 16, sums[j], 32);
  sync_warp();
  for (int i = lane; i < 16 * 32; i += kWarpSize) c[i] = stage.c[i];
}

__global__ void misaligned_kernel(const float* a, float*) {
  MmaA<float> fragment;
  mma_load(fragment, a + 1, 16);
}
__global__ void half_warp_kernel(const float*, float*) {
  MmaAccumulator<float> sum;
  if (lane_index() < 16) mma_fill(sum, 0.0f);
}
__global__ void different_addresses_kernel(const float*, float* c) {
  MmaAccumulator<float> sum;
  mma_fill(sum, 0.0f);
  mma_store(c + (lane_index() == 7 ? 16 : 0), sum, 16);
}

float round_tf32(float x) {  // to nearest, ties away from zero, by arithmetic on the significand
  int exponent = 0;
  const double fraction = std::frexp(static_cast<double>(x), &exponent);
  return static_cast<float>(std::ldexp(std::round(fraction * 2048.0) / 2048.0, exponent));
}
template <typename T>
double rounded(float x) {
  if constexpr (std::is_same_v<T, float>)
    return static_cast<double>(round_tf32(x));
  else
    return static_cast<double>(static_cast<float>(T(x)));
}

std::vector<float> normals(size_t count, uint64_t stream) {
  Rng rng(5, stream);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(rng.normal());
  return values;
}

template <typename T>
Tensor on_device(const std::vector<float>& values, Device& device) {
  std::vector<T> typed;
  for (const float v : values) typed.push_back(T(v));
  return Tensor::from<T>({static_cast<int64_t>(values.size())}, typed, device);
}

template <typename T, MmaLayout LA, MmaLayout LB>
void check_matmul(Device& device) {
  const int m = 32, n = 48, k = 64;
  const auto size = [](int a, int b) { return static_cast<size_t>(a) * static_cast<size_t>(b); };
  const std::vector<float> a = normals(size(m, k), 1), b = normals(size(k, n), 2), c0 = normals(size(m, n), 3);
  const Tensor ta = on_device<T>(a, device), tb = on_device<T>(b, device), tc0 = on_device<float>(c0, device);
  Tensor tc = Tensor::empty({m, n}, DType::f32, device);
  launch(device, matmul_kernel<T, LA, LB>, {.grid = n / 16, .block = m / 16 * 32}, ta.data<T>(), tb.data<T>(),
         tc0.data<float>(), tc.data<float>(), m, n, k);
  const auto got = tc.to_vector<float>();
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      const size_t ij = size(i, n) + static_cast<size_t>(j);
      double sum = static_cast<double>(c0[ij]), magnitude = std::abs(sum);
      for (int l = 0; l < k; ++l) {
        const size_t il =
            LA == MmaLayout::row_major ? size(i, k) + static_cast<size_t>(l) : size(l, m) + static_cast<size_t>(i);
        const size_t lj =
            LB == MmaLayout::row_major ? size(l, n) + static_cast<size_t>(j) : size(j, k) + static_cast<size_t>(l);
        const double product = rounded<T>(a[il]) * rounded<T>(b[lj]);
        sum += product;
        magnitude += std::abs(product);
      }
      // float32 sums of k + 1 terms
      REQUIRE(std::abs(static_cast<double>(got[ij]) - sum) <= (k + 1) * 0x1p-24 * magnitude);
    }
}

template <typename T>
void check_all_layouts(Device& device) {
  check_matmul<T, MmaLayout::row_major, MmaLayout::row_major>(device);
  check_matmul<T, MmaLayout::row_major, MmaLayout::col_major>(device);
  check_matmul<T, MmaLayout::col_major, MmaLayout::row_major>(device);
  check_matmul<T, MmaLayout::col_major, MmaLayout::col_major>(device);
}

std::string error_of(Device& device, void (*kernel)(const float*, float*)) {
  Tensor out = Tensor::zeros({512}, DType::f32, device);
  try {
    launch(device, kernel, {.grid = 1, .block = 32}, out.data<float>(), out.data<float>());
    device.synchronize();
  } catch (const DeviceError& e) {
    return e.what();
  }
  return {};
}

}  // namespace

TEST_CASE("fragments multiply bf16, f16 and tf32 in every layout") {
  const auto device = Device::create("cuda");
  check_all_layouts<bf16>(*device);
  check_all_layouts<f16>(*device);
  check_all_layouts<float>(*device);
}

TEST_CASE("fragments staged through shared memory, under every seed") {
  const auto device = Device::create("cuda");
  const std::vector<float> a = normals(16 * 32, 4), b = normals(32 * 32, 5);
  const Tensor ta = on_device<bf16>(a, *device), tb = on_device<bf16>(b, *device);
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    emulator::set_seed(seed);
    Tensor tc = Tensor::empty({16, 32}, DType::f32, *device);
    launch(*device, staged_kernel, {.grid = 1, .block = 32}, ta.data<bf16>(), tb.data<bf16>(), tc.data<float>());
    const auto got = tc.to_vector<float>();
    for (size_t i = 0; i < 16; ++i)
      for (size_t j = 0; j < 32; ++j) {
        double sum = 1.0;
        for (size_t l = 0; l < 32; ++l) sum += rounded<bf16>(a[i * 32 + l]) * rounded<bf16>(b[l * 32 + j]);
        REQUIRE(static_cast<double>(got[i * 32 + j]) == doctest::Approx(sum).epsilon(1e-5).scale(1.0));
      }
  }
}

TEST_CASE("misuse of fragments is an error") {
  const auto device = Device::create("cuda");
  CHECK(error_of(*device, misaligned_kernel).find("misaligned address") != std::string::npos);
  const std::string half = error_of(*device, half_warp_kernel);
  CAPTURE(half);
  CHECK(half.find("divergent matrix operation in half_warp_kernel") != std::string::npos);
  CHECK(half.find("16 of 32 lanes came to mma_fill at mma_test.cpp:") != std::string::npos);
  CHECK(error_of(*device, different_addresses_kernel).find("lanes pass different fragments") != std::string::npos);
}

}  // namespace segrt::kernels::cuda
