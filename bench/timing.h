// Wall-clock times of repeated runs.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

namespace segrt {

struct Timing {
  double minimum_ms = 0, median_ms = 0;
};

// Two runs to warm up (primitives are made, packed weights kept), then `repeat` timed ones.
inline Timing time(int repeat, const std::function<void()>& f) {
  f();
  f();
  std::vector<double> ms;
  for (int i = 0; i < repeat; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    f();
    ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(ms.begin(), ms.end());
  return {ms.front(), ms[ms.size() / 2]};
}

}  // namespace segrt
