#include "kernels/device_peaks.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "core/parallel.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"

namespace segrt::kernels {
namespace {
struct Known {
  std::string_view name;
  double tflops, gbs;
};
// bf16 with f32 sums, and copies, as measured by many with good kernels.
constexpr Known kGpus[] = {{"H200", 790, 4300}, {"H100", 790, 3000}};

double best_seconds(int repeats, const std::function<void()>& work) {
  double best = 1e30;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

double probed_flops(Device& cpu) {
  constexpr int64_t kSide = 1536;
  Tensor a = Tensor::empty({kSide, kSide}, DType::f32, cpu), b = Tensor::like(a), c = Tensor::like(a);
  fill(a, 0.5);
  fill(b, 0.5);
  return 2.0 * kSide * kSide * kSide / best_seconds(5, [&] { matmul(a, b, {}, c); });
}

double probed_bandwidth(Device& cpu) {
  constexpr int64_t kBytes = int64_t{256} << 20;
  Tensor from = Tensor::zeros({kBytes}, DType::u8, cpu), to = Tensor::zeros({kBytes}, DType::u8, cpu);
  return 2.0 * kBytes / best_seconds(5, [&] { to.copy_from(from); });
}
}  // namespace

DevicePeaks device_peaks(Device& device, double given_gflops, double given_gbs) {
  DevicePeaks peaks{.flops_per_s = given_gflops * 1e9, .bytes_per_s = given_gbs * 1e9, .source = "given"};
  if (given_gflops > 0 && given_gbs > 0) return peaks;
  DevicePeaks own;
  if (device.is_cpu()) {
    if (given_gflops <= 0) own.flops_per_s = probed_flops(device);
    if (given_gbs <= 0) own.bytes_per_s = probed_bandwidth(device);
    own.source = fmt::format("measured, float32 matrix product and copy, {} threads", threads());
  } else {
    const auto known = std::find_if(std::begin(kGpus), std::end(kGpus), [&](const Known& gpu) {
      return device.description().find(gpu.name) != std::string::npos;
    });
    if (known == std::end(kGpus)) {
      peaks.source = "the peaks of " + device.description() + " are not known; give them";
      return peaks;
    }
    own = {known->tflops * 1e12, known->gbs * 1e9, fmt::format("table, {}, bf16, achievable", known->name)};
  }
  if (given_gflops > 0 || given_gbs > 0)
    own.source = fmt::format("{} given, rest {}", given_gflops > 0 ? "FLOP/s" : "bytes/s", own.source);
  if (given_gflops > 0) own.flops_per_s = peaks.flops_per_s;
  if (given_gbs > 0) own.bytes_per_s = peaks.bytes_per_s;
  return own;
}

}  // namespace segrt::kernels
