#include "kernels/vendor/event_timer.h"

#include <algorithm>
#include <array>

#include "core/cuda/check.h"

namespace segrt::kernels::vendor {
namespace {
constexpr int kWarmUps = 2, kRuns = 7;
constexpr double kHopeless = 3;  // times the best: not worth more runs

CudaEvent make_event() {
  cudaEvent_t raw = nullptr;
  check(cudaEventCreate(&raw), "cudaEventCreate");
  return CudaEvent(raw);
}
}  // namespace

EventTimer::EventTimer(Device& device) : device_(cuda_device(device)), begin_(make_event()), end_(make_event()) {}

double EventTimer::once_ms(const std::function<void()>& work) {
  check(cudaEventRecord(begin_.get(), device_.stream()), "cudaEventRecord");
  work();
  check(cudaEventRecord(end_.get(), device_.stream()), "cudaEventRecord");
  check(cudaEventSynchronize(end_.get()), "cudaEventSynchronize");
  float ms = 0;
  check(cudaEventElapsedTime(&ms, begin_.get(), end_.get()), "cudaEventElapsedTime");
  return static_cast<double>(ms);
}

double EventTimer::median_ms(const std::function<void()>& work, double best_ms) {
  double warm = 0;
  for (int i = 0; i < kWarmUps; ++i) warm = once_ms(work);
  if (warm > kHopeless * best_ms) return warm;
  std::array<double, kRuns> ms{};
  for (double& run : ms) run = once_ms(work);
  std::nth_element(ms.begin(), ms.begin() + kRuns / 2, ms.end());
  return ms[kRuns / 2];
}

}  // namespace segrt::kernels::vendor
