// Streams and events: work is queued and runs at synchronisation points, one operation at a time, from a stream picked
// at random among those that can go on. A wait that the program forgot shows as a wrong order under some seed.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "random.h"

namespace segrt::emulator {

struct Event {
  uint64_t recorded = 0;  // records asked for so far
  uint64_t reached = 0;   // the latest that its stream has come to
  std::chrono::steady_clock::time_point time;
};

struct Operation {
  std::function<void()> run;
  std::shared_ptr<Event> wait{};  // holds the stream until wait->reached >= wait_for
  uint64_t wait_for = 0;
  std::shared_ptr<Event> record{};  // or is a record of this event,
  uint64_t number = 0;              // its number-th
};

struct Capture;

struct Stream {
  std::deque<Operation> queue;
  std::shared_ptr<Capture> capture{};  // what the stream is given goes there instead
};

class StreamSet {
 public:
  explicit StreamSet(uint64_t seed) : random_(seed) {}

  Stream* create();
  void destroy(Stream* stream);
  bool owns(const Stream* stream) const;
  Stream* default_stream() { return &default_; }

  void push(Stream* stream, std::function<void()> run);
  void record(Stream* stream, const std::shared_ptr<Event>& event);
  void wait(Stream* stream, const std::shared_ptr<Event>& event);

  // Runs operations until `done()`. What an operation throws passes through, and all queues are then empty.
  void run_until(const std::function<bool()>& done);
  void run_all();
  void run_one();  // an operation, if there is any: for queries, so that polling ends
  size_t queued() const;
  std::vector<Stream*> capturing() const;
  void reseed(uint64_t seed) { random_ = Random(seed); }

 private:
  bool step();
  void drop_all();

  Random random_;
  Stream default_;
  std::vector<std::unique_ptr<Stream>> streams_;
};

}  // namespace segrt::emulator
