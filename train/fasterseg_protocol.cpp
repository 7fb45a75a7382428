#include "train/fasterseg_protocol.h"

namespace segrt::train {

FastersegResult measure_as_fasterseg(const std::function<double(int64_t)>& loop_ms) {
  constexpr int64_t kWarmup = 10, kFirst = 100;
  loop_ms(kWarmup);
  int64_t count = kFirst;
  double elapsed_s = 0;
  while (elapsed_s < 1) {
    elapsed_s = loop_ms(count) / 1000;
    count *= 2;
  }
  FastersegResult result;
  result.calibrated_rate = static_cast<double>(count) / elapsed_s;
  result.iterations = static_cast<int64_t>(6 * result.calibrated_rate);
  result.latency_ms = loop_ms(result.iterations) / static_cast<double>(result.iterations);
  return result;
}

}  // namespace segrt::train
