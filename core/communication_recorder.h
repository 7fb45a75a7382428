// What a communicator has carried out, for profiles.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace segrt {

// An operation between processes as this one saw it. Times in ms since the recording began.
struct CommunicationSpan {
  std::string name;      // what it was called with: "all_reduce", "bucket 3"
  int64_t bytes = 0;     // of this process's tensor
  double queued_ms = 0;  // when it was asked for; on a GPU, where its stream decides, as start_ms
  double start_ms = 0;   // when it was its turn: from here on it waits for the others, and travels
  double end_ms = 0;     // when the result was there
};

// By the steady clock; any thread may add.
class CommunicationRecorder {
 public:
  using Clock = std::chrono::steady_clock;

  void start();
  bool on() const { return on_.load(std::memory_order_acquire); }
  // One that has just ended. Nothing happens while it is off, or if that was asked for before it was on.
  void add(const std::string& name, int64_t bytes, Clock::time_point queued, Clock::time_point start);
  std::vector<CommunicationSpan> stop();  // in the order in which they ended

 private:
  std::atomic<bool> on_{false};
  std::mutex mutex_;
  Clock::time_point origin_;
  std::vector<CommunicationSpan> spans_;
};

}  // namespace segrt
