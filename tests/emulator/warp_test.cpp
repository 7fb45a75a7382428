// Warp collectives: masks, divergence, partial warps, and agreement of all lanes.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"
#include "emulator/control.h"
#include "kernels/cuda/device.h"

namespace segrt::kernels::cuda {
namespace {

// Eight collectives a lane, each with an answer that arithmetic gives.
__global__ void collectives_kernel(int32_t* out) {
  const int lane = lane_index();
  int32_t* o = out + static_cast<int64_t>(linear_thread()) * 8;
  o[0] = warp_shuffle(lane, (lane * 7) % 32);
  o[1] = warp_shuffle_up(lane, 3);
  o[2] = warp_shuffle_down(lane, 5);
  o[3] = warp_shuffle_xor(lane, 9);
  o[4] = warp_any(lane == 31) + 2 * warp_any(lane > 31);
  o[5] = warp_all(lane < 32) + 2 * warp_all(lane < 31);
  o[6] = static_cast<int32_t>(warp_ballot(lane % 3 == 0));
  o[7] = warp_sum(lane) + 1000 * warp_max(lane) + 100000 * warp_min(lane + 1);
}

// Only some warps come, and within each the halves go different ways under their own masks; then all meet again.
__global__ void divergent_halves_kernel(int32_t* out) {
  const int lane = lane_index();
  int32_t value = lane;
  if (warp_index() % 2 == 0) {
    if (lane < 16) {
      value = warp_sum(lane, 0x0000ffffu);
      value += warp_shuffle(lane, 3, 0x0000ffffu);
    } else {
      value = warp_max(lane, 0xffff0000u);
    }
    sync_warp();
    value = warp_shuffle_xor(value, 16);
  }
  out[linear_thread()] = value;
}

// Each round, all lanes pass a value to their neighbour through shared memory; two warp barriers a round.
struct Ring {
  int32_t value[128];
};
__global__ void ring_kernel(int32_t* out, int rounds) {
  auto& ring = block_shared<Ring>();
  const int i = linear_thread(), lane = lane_index(), base = i - lane;
  int32_t value = i;
  for (int round = 0; round < rounds; ++round) {
    ring.value[i] = value;
    sync_warp();
    value = ring.value[base + (lane + 1) % kWarpSize];
    sync_warp();
  }
  out[i] = value;
}

struct Wide {
  double a;
  int32_t b;
};
__global__ void types_kernel(double* out) {
  const int lane = lane_index();
  const Wide wide = warp_shuffle(Wide{lane + 0.5, lane}, 7);
  const bf16 half = warp_shuffle(from_float<bf16>(static_cast<float>(lane)), 9);
  out[lane] =
      wide.a + wide.b + static_cast<double>(to_float(half)) + static_cast<double>(warp_shuffle_down<int64_t>(lane, 1));
}

// The last warp has fewer lanes; some lanes of the first return before the collective.
__global__ void partial_kernel(float* out) { out[linear_thread()] = warp_sum(1.0f, warp_mask()); }
__global__ void reads_absent_lane_kernel(float* out) { out[linear_thread()] = warp_shuffle(1.0f, 31); }
__global__ void early_exit_kernel(float* out) {
  const int lane = lane_index();
  if (lane >= 24) return;
  out[lane] = warp_sum(1.0f, 0x00ffffffu);
}

__global__ void wrong_mask_kernel(float* out) { out[linear_thread()] = warp_shuffle(1.0f, 0, 1u); }
__global__ void two_places_kernel(float* out) {
  if (lane_index() < 16)
    out[linear_thread()] = warp_shuffle(1.0f, 0);
  else
    out[linear_thread()] = warp_shuffle(2.0f, 0);
}
__global__ void overlapping_masks_kernel(float* out) {
  const unsigned mask = lane_index() < 16 ? 0x0001ffffu : 0xffff8000u;
  out[linear_thread()] = warp_shuffle(1.0f, 16, mask);
}

std::string error_of(Device& device, void (*kernel)(float*)) {
  Tensor out = Tensor::zeros({32}, DType::f32, device);
  try {
    launch(device, kernel, {.grid = 1, .block = 32}, out.data<float>());
    device.synchronize();
  } catch (const DeviceError& e) {
    return e.what();
  }
  return {};
}

}  // namespace

TEST_CASE("warp collectives give what arithmetic gives, under every seed") {
  const auto device = Device::create("cuda");
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    emulator::set_seed(seed);
    Tensor out = Tensor::empty({96, 8}, DType::i32, *device);
    launch(*device, collectives_kernel, {.grid = 1, .block = 96}, out.data<int32_t>());
    const auto got = out.to_vector<int32_t>();
    for (int i = 0; i < 96; ++i) {
      const int lane = i % 32;
      const int32_t* o = &got[static_cast<size_t>(i) * 8];
      CHECK(o[0] == lane * 7 % 32);
      CHECK(o[1] == (lane < 3 ? lane : lane - 3));
      CHECK(o[2] == (lane + 5 > 31 ? lane : lane + 5));
      CHECK(o[3] == (lane ^ 9));
      CHECK(o[4] == 1);
      CHECK(o[5] == 1);
      CHECK(o[6] == 0x49249249);
      CHECK(o[7] == 496 + 31000 + 100000);
    }
  }
}

TEST_CASE("collectives work in divergent warps under masks") {
  const auto device = Device::create("cuda");
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    emulator::set_seed(seed);
    Tensor out = Tensor::empty({128}, DType::i32, *device);
    launch(*device, divergent_halves_kernel, {.grid = 1, .block = 128}, out.data<int32_t>());
    const auto got = out.to_vector<int32_t>();
    for (int i = 0; i < 128; ++i) {
      const int lane = i % 32;
      const int expected = i / 32 % 2 == 1 ? lane : lane < 16 ? 31 : 120 + 3;
      CHECK(got[static_cast<size_t>(i)] == expected);
    }
  }
}

TEST_CASE("warp barriers order shared memory round after round") {
  const auto device = Device::create("cuda");
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    emulator::set_seed(seed);
    Tensor out = Tensor::empty({128}, DType::i32, *device);
    launch(*device, ring_kernel, {.grid = 1, .block = 128}, out.data<int32_t>(), 37);
    const auto got = out.to_vector<int32_t>();
    for (int i = 0; i < 128; ++i) CHECK(got[static_cast<size_t>(i)] == i / 32 * 32 + (i + 37) % 32);
  }
}

TEST_CASE("shuffles move any type of up to 16 bytes") {
  const auto device = Device::create("cuda");
  Tensor out = Tensor::empty({32}, DType::f64, *device);
  launch(*device, types_kernel, {.grid = 1, .block = 32}, out.data<double>());
  const auto got = out.to_vector<double>();
  for (int lane = 0; lane < 32; ++lane)
    CHECK(got[static_cast<size_t>(lane)] == 7.5 + 7 + 9 + (lane < 31 ? lane + 1 : 31));
}

TEST_CASE("partial warps and lanes that have returned") {
  const auto device = Device::create("cuda");
  Tensor out = Tensor::empty({45}, DType::f32, *device);
  launch(*device, partial_kernel, {.grid = 1, .block = 45}, out.data<float>());
  const auto sums = out.to_vector<float>();
  for (int i = 0; i < 45; ++i) CHECK(sums[static_cast<size_t>(i)] == (i < 32 ? 32 : 13));
  // What an absent lane would have passed is undefined: here NaN, so that it shows.
  launch(*device, reads_absent_lane_kernel, {.grid = 1, .block = 45}, out.data<float>());
  const auto reads = out.to_vector<float>();
  for (int i = 0; i < 45; ++i) CHECK(std::isnan(reads[static_cast<size_t>(i)]) == (i >= 32));
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    emulator::set_seed(seed);
    launch(*device, early_exit_kernel, {.grid = 1, .block = 32}, out.data<float>());
    const auto early = out.to_vector<float>();
    for (size_t i = 0; i < 24; ++i) CHECK(early[i] == 24.0f);
  }
}

TEST_CASE("lanes that do not meet are an error") {
  const auto device = Device::create("cuda");
  CHECK(error_of(*device, wrong_mask_kernel).find("is not in its own mask 0x00000001") != std::string::npos);
  const std::string places = error_of(*device, two_places_kernel);
  CAPTURE(places);
  CHECK(places.find("divergent warp collective in two_places_kernel") != std::string::npos);
  CHECK(places.find("threads 0-15 in warp_shuffle at warp_test.cpp:") != std::string::npos);
  const std::string masks = error_of(*device, overlapping_masks_kernel);
  CAPTURE(masks);
  CHECK(masks.find("divergent warp collective in overlapping_masks_kernel") != std::string::npos);
  CHECK(masks.find("threads 0-15 in warp_shuffle at warp_test.cpp") != std::string::npos);
  CHECK(masks.find("with mask 0x0001ffff; threads 16-31") != std::string::npos);
}

}  // namespace segrt::kernels::cuda
