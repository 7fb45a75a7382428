#include "streams.h"

#include <algorithm>
#include <stdexcept>

namespace segrt::emulator {

Stream* StreamSet::create() { return streams_.emplace_back(std::make_unique<Stream>()).get(); }

void StreamSet::destroy(Stream* stream) {
  std::erase_if(streams_, [&](const auto& s) { return s.get() == stream; });
}

bool StreamSet::owns(const Stream* stream) const {
  return stream == &default_ ||
         std::any_of(streams_.begin(), streams_.end(), [&](const auto& s) { return s.get() == stream; });
}

void StreamSet::push(Stream* stream, std::function<void()> run) { stream->queue.push_back({.run = std::move(run)}); }

void StreamSet::record(Stream* stream, const std::shared_ptr<Event>& event) {
  const uint64_t number = ++event->recorded;
  const auto reach = [event, number] {
    event->reached = std::max(event->reached, number);
    event->time = std::chrono::steady_clock::now();
  };
  stream->queue.push_back({.run = reach, .record = event, .number = number});
}

void StreamSet::wait(Stream* stream, const std::shared_ptr<Event>& event) {
  stream->queue.push_back({.run = [] {}, .wait = event, .wait_for = event->recorded});
}

bool StreamSet::step() {
  std::vector<Stream*> able;
  const auto consider = [&](Stream* stream) {
    if (stream->queue.empty()) return;
    const Operation& next = stream->queue.front();
    if (!next.wait || next.wait->reached >= next.wait_for) able.push_back(stream);
  };
  consider(&default_);
  for (const auto& stream : streams_) consider(stream.get());
  if (able.empty()) return false;
  Stream* stream = able[random_.below(static_cast<uint32_t>(able.size()))];
  const Operation operation = std::move(stream->queue.front());
  stream->queue.pop_front();
  try {
    operation.run();
  } catch (...) {
    drop_all();
    throw;
  }
  return true;
}

// After a failure, as a GPU's context is then lost. Its events count as reached, so that nobody waits.
void StreamSet::drop_all() {
  const auto drop = [](Stream& stream) {
    for (const Operation& operation : stream.queue)
      if (operation.record) operation.record->reached = std::max(operation.record->reached, operation.number);
    stream.queue.clear();
  };
  drop(default_);
  for (const auto& stream : streams_) drop(*stream);
}

void StreamSet::run_until(const std::function<bool()>& done) {
  while (!done())
    if (!step()) throw std::logic_error("emulator: streams wait for each other");
}

void StreamSet::run_all() {
  run_until([this] { return queued() == 0; });
}

void StreamSet::run_one() { step(); }

std::vector<Stream*> StreamSet::capturing() const {
  std::vector<Stream*> found;  // the default stream cannot be
  for (const auto& stream : streams_)
    if (stream->capture) found.push_back(stream.get());
  return found;
}

size_t StreamSet::queued() const {
  size_t count = default_.queue.size();
  for (const auto& stream : streams_) count += stream->queue.size();
  return count;
}

}  // namespace segrt::emulator
