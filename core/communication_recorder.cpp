#include "core/communication_recorder.h"

#include <utility>

namespace segrt {

void CommunicationRecorder::start() {
  const std::lock_guard lock(mutex_);
  spans_.clear();
  origin_ = Clock::now();
  on_.store(true, std::memory_order_release);
}

void CommunicationRecorder::add(const std::string& name, int64_t bytes, Clock::time_point queued,
                                Clock::time_point start) {
  const Clock::time_point end = Clock::now();
  if (!on()) return;
  const std::lock_guard lock(mutex_);
  if (queued < origin_) return;
  const auto ms = [this](Clock::time_point t) {
    return std::chrono::duration<double, std::milli>(t - origin_).count();
  };
  spans_.push_back({.name = name, .bytes = bytes, .queued_ms = ms(queued), .start_ms = ms(start), .end_ms = ms(end)});
}

std::vector<CommunicationSpan> CommunicationRecorder::stop() {
  const std::lock_guard lock(mutex_);
  on_.store(false, std::memory_order_release);
  return std::exchange(spans_, {});
}

}  // namespace segrt
