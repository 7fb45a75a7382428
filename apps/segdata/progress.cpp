#include "apps/segdata/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <memory>

namespace segrt::apps {

std::function<void(int64_t, int64_t)> progress_bar(const std::string& what) {
  using Clock = std::chrono::steady_clock;
  constexpr int64_t kWidth = 24;
  constexpr double kSecondsBetween = 0.2;
  if (isatty(STDERR_FILENO) != 1) return nullptr;
  const Clock::time_point begin = Clock::now();
  return [what, begin, shown = std::make_shared<Clock::time_point>(begin)](int64_t done, int64_t total) {
    const Clock::time_point now = Clock::now();
    if (done == total) {
      fmt::print(stderr, "\r\x1b[K");
      return;
    }
    if (std::chrono::duration<double>(now - *shown).count() < kSecondsBetween) return;
    *shown = now;
    const double rate = static_cast<double>(done) / std::chrono::duration<double>(now - begin).count();
    const auto left = static_cast<int64_t>(static_cast<double>(total - done) / rate);
    const auto full = static_cast<size_t>(kWidth * done / total);
    fmt::print(stderr, "\r{} [{}{}] {}/{}  {:.1f}/s  {}:{:02} left\x1b[K", what, std::string(full, '#'),
               std::string(static_cast<size_t>(kWidth) - full, '.'), done, total, rate, left / 60, left % 60);
  };
}

}  // namespace segrt::apps
