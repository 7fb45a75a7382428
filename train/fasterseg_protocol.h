// How the FasterSeg code measures latency (its PyTorch path), which the FPS of the DABNet paper follow.
#pragma once

#include <cstdint>
#include <functional>

namespace segrt::train {

struct FastersegResult {
  double calibrated_rate = 0;  // runs a second, twice the true one: see below
  int64_t iterations = 0;      // timed as one
  double latency_ms = 0;       // their mean
  double fps() const { return 1000 / latency_ms; }
};

// `loop_ms(n)`: how long n runs take, device synchronised around them. Ten runs to warm up; loops of 100, 200, ... runs
// until one takes a second; then int(6 * rate) runs are timed, where rate = count / time of the last loop with the
// count doubled once more after that loop, as published: so that they take about 12 s, not 6.
FastersegResult measure_as_fasterseg(const std::function<double(int64_t runs)>& loop_ms);

}  // namespace segrt::train
