// Register layouts of tensor-core instructions: operands brought in by hand as the PTX ISA documents them and by
// ldmatrix, in every combination, against float64 products.
#include "kernels/cuda/tensor_core.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "core/tensor.h"
#include "kernels/cuda/async_copy.h"

namespace segrt::kernels::cuda {
namespace {

constexpr int kRows = 16, kColumns = 16, kDepth = 16;

template <typename T>
struct Operands {
  alignas(16) T a[kRows * kDepth];     // [m,k]
  alignas(16) T a_t[kDepth * kRows];   // [k,m]
  alignas(16) T b[kDepth * kColumns];  // [k,n]
  alignas(16) T b_t[kColumns * kDepth];
};

template <typename T>
uint32_t pair(T low, T high) {
  return uint32_t{low.bits} | uint32_t{high.bits} << 16;
}

// How a warp gets an operand into registers.
enum class Way { by_hand, direct, transposed };

template <typename T>
SEGRT_DEVICE void load_a(FragmentA<T>& a, const Operands<T>& s, Way way) {
  const int lane = lane_index(), g = lane / 4, q = lane % 4;
  if (way == Way::by_hand) {
    a[0] = pair(s.a[g * 16 + 2 * q], s.a[g * 16 + 2 * q + 1]);
    a[1] = pair(s.a[(g + 8) * 16 + 2 * q], s.a[(g + 8) * 16 + 2 * q + 1]);
    a[2] = pair(s.a[g * 16 + 2 * q + 8], s.a[g * 16 + 2 * q + 9]);
    a[3] = pair(s.a[(g + 8) * 16 + 2 * q + 8], s.a[(g + 8) * 16 + 2 * q + 9]);
  } else if (way == Way::direct) {
    ldmatrix_x4(a, s.a + lane % 16 * 16 + lane / 16 * 8);
  } else {
    ldmatrix_x4_trans(a, s.a_t + (lane % 8 + lane / 16 * 8) * 16 + lane / 8 % 2 * 8);
  }
}

template <typename T>
SEGRT_DEVICE void load_b(FragmentB<T> (&b)[2], const Operands<T>& s, Way way) {
  const int lane = lane_index(), g = lane / 4, q = lane % 4;
  if (way == Way::by_hand) {
    for (int j = 0; j < 2; ++j)
      for (int w = 0; w < 2; ++w) {
        const int k = 2 * q + 8 * w, n = g + 8 * j;
        b[j][w] = pair(s.b[k * 16 + n], s.b[(k + 1) * 16 + n]);
      }
  } else if (way == Way::direct) {
    ldmatrix_x4(b[0], b[1], s.b_t + (lane % 8 + lane / 16 * 8) * 16 + lane / 8 % 2 * 8);
  } else {
    ldmatrix_x4_trans(b[0], b[1], s.b + lane % 16 * 16 + lane / 16 * 8);
  }
}

SEGRT_DEVICE void store_c(const FragmentC& c, float* p, int stride) {
  const int g = lane_index() / 4, q = lane_index() % 4;
  p[g * stride + 2 * q] = c[0];
  p[g * stride + 2 * q + 1] = c[1];
  p[(g + 8) * stride + 2 * q] = c[2];
  p[(g + 8) * stride + 2 * q + 1] = c[3];
}

template <typename T>
__global__ void product_kernel(const T* a, const T* b, float* c, Way way_a, Way way_b) {
  auto& s = block_shared<Operands<T>>();
  for (int i = thread_index().x; i < 256; i += kWarpSize) {
    s.a[i] = a[i];
    s.a_t[i % 16 * 16 + i / 16] = a[i];
    s.b[i] = b[i];
    s.b_t[i % 16 * 16 + i / 16] = b[i];
  }
  sync_warp();
  FragmentC sums[2];
  for (auto& sum : sums)
    for (int i = 0; i < 4; ++i) sum[i] = 1.0f;
  for (int repeat = 0; repeat < 2; ++repeat) {  // registers of one pass are reused by the next
    FragmentA<T> fa;
    FragmentB<T> fb[2];
    load_a(fa, s, way_a);
    load_b(fb, s, way_b);
    for (int j = 0; j < 2; ++j) mma_m16n8k16(sums[j], fa, fb[j]);
  }
  for (int j = 0; j < 2; ++j) store_c(sums[j], c + 8 * j, 16);
}

// A [16,8] by ldmatrix or by hand, B [8,8].
struct Floats {
  alignas(16) float a[16 * 8];
};
__global__ void tf32_kernel(const float* a, const float* b, float* c, bool by_hand) {
  auto& s = block_shared<Floats>();
  const int lane = lane_index(), g = lane / 4, q = lane % 4;
  for (int i = lane; i < 128; i += kWarpSize) s.a[i] = std::bit_cast<float>(to_tf32(a[i]));
  sync_warp();
  FragmentA<float> fa;
  FragmentB<float> fb;
  FragmentC sum;
  if (by_hand) {
    fa[0] = std::bit_cast<uint32_t>(s.a[g * 8 + q]);
    fa[1] = std::bit_cast<uint32_t>(s.a[(g + 8) * 8 + q]);
    fa[2] = std::bit_cast<uint32_t>(s.a[g * 8 + q + 4]);
    fa[3] = std::bit_cast<uint32_t>(s.a[(g + 8) * 8 + q + 4]);
  } else {
    ldmatrix_x4(fa, s.a + lane % 16 * 8 + lane / 16 * 4);
  }
  fb[0] = to_tf32(b[q * 8 + g]);
  fb[1] = to_tf32(b[(q + 4) * 8 + g]);
  for (int i = 0; i < 4; ++i) sum[i] = 0.0f;
  mma_m16n8k8(sum, fa, fb);
  store_c(sum, c, 8);
}

__global__ void misaligned_row_kernel(const bf16*) {
  auto& s = block_shared<Operands<bf16>>();
  FragmentA<bf16> a;
  ldmatrix_x4(a, s.a + 4);
}
__global__ void global_row_kernel(const bf16* x) {
  FragmentA<bf16> a;
  ldmatrix_x4(a, x);
}
__global__ void half_warp_kernel(const bf16*) {
  auto& s = block_shared<Operands<bf16>>();
  FragmentA<bf16> a;
  if (lane_index() < 16) {
    ldmatrix_x4(a, s.a);
    static_cast<void>(a[0]);  // the other lanes never come
  }
}
__global__ void misaligned_copy_kernel(const bf16* x) {
  auto& s = block_shared<Operands<bf16>>();
  copy_async<16>(s.a + 1, x, true);
}
__global__ void copy_to_global_kernel(const bf16* x) { copy_async<16>(const_cast<bf16*>(x), x, true); }

std::string error_of(Device& device, void (*kernel)(const bf16*)) {
  const Tensor x = Tensor::zeros({256}, DType::bf16, device);
  try {
    launch(device, kernel, {.grid = 1, .block = 32}, x.data<bf16>());
    device.synchronize();
  } catch (const DeviceError& e) {
    return e.what();
  }
  return {};
}

std::vector<float> normals(size_t n, uint64_t seed) {
  std::vector<float> values(n);
  Rng rng(seed, 0);
  for (float& v : values) v = static_cast<float>(rng.normal());
  return values;
}
template <typename T>
std::vector<T> converted(const std::vector<float>& values) {
  std::vector<T> result;
  for (const float v : values) result.push_back(static_cast<T>(v));
  return result;
}

template <typename T>
void check_products(Device& device) {
  const auto a = converted<T>(normals(256, 1)), b = converted<T>(normals(256, 2));
  const Tensor ta = Tensor::from<T>({16, 16}, a, device), tb = Tensor::from<T>({16, 16}, b, device);
  for (const Way way_a : {Way::by_hand, Way::direct, Way::transposed})
    for (const Way way_b : {Way::by_hand, Way::direct, Way::transposed}) {
      CAPTURE(static_cast<int>(way_a));
      CAPTURE(static_cast<int>(way_b));
      Tensor c = Tensor::zeros({16, 16}, DType::f32, device);
      launch(device, product_kernel<T>, {.grid = 1, .block = 32}, ta.data<T>(), tb.data<T>(), c.data<float>(), way_a,
             way_b);
      const auto got = c.to_vector<float>();
      for (size_t i = 0; i < 16; ++i)
        for (size_t j = 0; j < 16; ++j) {
          double sum = 1.0;
          for (size_t k = 0; k < 16; ++k)
            sum += 2.0 * static_cast<double>(static_cast<float>(a[i * 16 + k])) *
                   static_cast<double>(static_cast<float>(b[k * 16 + j]));
          REQUIRE(static_cast<double>(got[i * 16 + j]) == doctest::Approx(sum).epsilon(1e-5).scale(1.0));
        }
    }
}

}  // namespace

TEST_CASE("registers of 16-bit products are where PTX says, however they were loaded") {
  const auto device = Device::create("cuda");
  SUBCASE("bf16") { check_products<bf16>(*device); }
  SUBCASE("f16") { check_products<f16>(*device); }
}

TEST_CASE("registers of tf32 products are where PTX says") {
  const auto device = Device::create("cuda");
  const auto a = normals(128, 3), b = normals(64, 4);
  const Tensor ta = Tensor::from<float>({16, 8}, a, *device), tb = Tensor::from<float>({8, 8}, b, *device);
  for (const bool by_hand : {false, true}) {
    Tensor c = Tensor::zeros({16, 8}, DType::f32, *device);
    launch(*device, tf32_kernel, {.grid = 1, .block = 32}, ta.data<float>(), tb.data<float>(), c.data<float>(),
           by_hand);
    const auto got = c.to_vector<float>();
    for (size_t i = 0; i < 16; ++i)
      for (size_t j = 0; j < 8; ++j) {
        double sum = 0.0, magnitude = 0.0;
        for (size_t k = 0; k < 8; ++k) {
          const double term = static_cast<double>(a[i * 8 + k]) * static_cast<double>(b[k * 8 + j]);
          sum += term;
          magnitude += std::abs(term);
        }
        REQUIRE(std::abs(static_cast<double>(got[i * 8 + j]) - sum) <= magnitude * 0x1p-10);
      }
  }
}

TEST_CASE("misuse of tensor-core loads and asynchronous copies is an error") {
  const auto device = Device::create("cuda");
  CHECK(error_of(*device, misaligned_row_kernel).find("misaligned address") != std::string::npos);
  CHECK(error_of(*device, global_row_kernel).find("are not in the block's shared memory") != std::string::npos);
  const std::string half = error_of(*device, half_warp_kernel);
  CAPTURE(half);
  CHECK(half.find("threads 0-15 in an access of a fragment that other lanes have to complete") != std::string::npos);
  CHECK(error_of(*device, misaligned_copy_kernel).find("misaligned address") != std::string::npos);
  CHECK(error_of(*device, copy_to_global_kernel).find("are not in the block's shared memory") != std::string::npos);
}

}  // namespace segrt::kernels::cuda
