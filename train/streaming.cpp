#include "train/streaming.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

#include "core/async_copies.h"
#include "core/error.h"
#include "data/batch.h"

namespace segrt::train {
namespace {
using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct DecodedFrame {
  data::Image image;
  data::HostBuffer pixels;  // of the image, where copies to the device go fastest from
  std::string error;        // why there is none
};

// Worker threads that decode images in order, a few ahead of whoever takes them.
class Decoder {
 public:
  Decoder(int64_t count, int workers, const StreamingInference::Source& source, std::shared_ptr<data::HostPool> pool)
      : count_(count), ahead_(workers + 2), source_(source), pool_(std::move(pool)) {
    frames_.resize(static_cast<size_t>(ahead_));
    ready_.resize(frames_.size());
    for (int i = 0; i < workers; ++i) threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
  }
  ~Decoder() {
    const std::lock_guard lock(mutex_);  // none is between looking and waiting
    for (std::jthread& thread : threads_) thread.request_stop();
    changed_.notify_all();
  }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  bool is_ready(int64_t index) {
    const std::lock_guard lock(mutex_);
    return ready_[slot(index)];
  }
  DecodedFrame take(int64_t index) {  // in order; waits
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ready_[slot(index)]; });
    ready_[slot(index)] = false;
    ++taken_;
    changed_.notify_all();
    return std::move(frames_[slot(index)]);
  }
  double seconds() {
    const std::lock_guard lock(mutex_);
    return seconds_;
  }

 private:
  size_t slot(int64_t index) const { return static_cast<size_t>(index % ahead_); }

  void work(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (true) {
      // Slots are claimed in order and only when their last image has been taken, so the next one wanted is always
      // among those being decoded.
      changed_.wait(lock, [&] { return stop.stop_requested() || next_ == count_ || next_ < taken_ + ahead_; });
      if (stop.stop_requested() || next_ == count_) return;
      const int64_t index = next_++;
      lock.unlock();
      const auto start = Clock::now();
      DecodedFrame frame = decoded(index);
      lock.lock();
      seconds_ += seconds_since(start);
      frames_[slot(index)] = std::move(frame);
      ready_[slot(index)] = true;
      changed_.notify_all();
    }
  }

  DecodedFrame decoded(int64_t index) const {
    DecodedFrame frame;
    try {
      frame.image = source_(index);
      if (frame.image.channels != 3 || frame.image.empty())
        throw ArgumentError(fmt::format("expected an RGB image, got {}x{} pixels of {} channels", frame.image.height,
                                        frame.image.width, frame.image.channels));
      frame.pixels = data::HostBuffer(pool_, frame.image.pixels.size());
      std::memcpy(frame.pixels.data(), frame.image.pixels.data(), frame.image.pixels.size());
    } catch (const std::exception& e) {
      frame.error = e.what();
    }
    return frame;
  }

  int64_t count_, ahead_;
  const StreamingInference::Source& source_;
  std::shared_ptr<data::HostPool> pool_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<DecodedFrame> frames_;  // by slot
  std::vector<bool> ready_;
  int64_t next_ = 0, taken_ = 0;
  double seconds_ = 0;
  std::vector<std::jthread> threads_;  // last: joined first
};

// A frame on its way through the device. Three take turns: one whose map is on its way back or being handed on, one
// that is computed, one that is on its way in.
constexpr int kLanes = 3;
struct Lane {
  DecodedFrame frame;
  Tensor image, map;      // on the device
  data::HostBuffer host;  // the map's destination
  size_t copy = 0;        // of the map to the host
  Clock::time_point start;
};
// One stream. What is queued for frame i, so that copies and computing overlap: copy in i+1, compute i, copy out i;
// then the host waits for the map of i-1 and hands it on. A copy in waits for the compute queued before it: if i+1 is
// not decoded by now, it is copied behind the compute of i, and the decoders are what limits. Where copies do not
// overlap with computing, frames go one by one, but for their decoding.
class Pipeline {
 public:
  Pipeline(Device& device, ImageToMap& network, int64_t count, int workers, const StreamingInference::Source& source,
           const StreamingInference::Sink& sink)
      : device_(device),
        network_(network),
        sink_(sink),
        count_(count),
        pool_(std::make_shared<data::HostPool>(device)),
        copies_(device),
        decoder_(count, workers, source, pool_) {}

  StreamingInference::Stats run() {
    const auto begin = Clock::now();
    for (int64_t i = 0; i < count_; ++i) {
      if (started_ == i) start();
      if (started_ == i) break;  // it has failed
      copies_.use();
      if (copies_.overlap() && i + 1 < count_ && decoder_.is_ready(i + 1)) start();
      Lane& l = lane(i);
      l.map.copy_from(network_.run(l.image));
      l.copy = copies_.to_host(l.host.data(), l.map.raw(), l.map.nbytes());
      if (!copies_.overlap())
        finish(i);
      else if (i > 0)
        finish(i - 1);
    }
    if (copies_.overlap() && count_ > 0) finish(count_ - 1);
    stats_.seconds = seconds_since(begin);
    stats_.decode_s = decoder_.seconds();
    if (!failure_.empty()) throw Error(failure_);
    return std::move(stats_);
  }

 private:
  Lane& lane(int64_t i) { return lanes_[static_cast<size_t>(i % kLanes)]; }

  // The next frame's way to the device. If it could not be decoded, the stream ends before it.
  void start() {
    Lane& l = lane(started_);
    const auto waiting = Clock::now();
    l.frame = decoder_.take(started_);
    stats_.wait_decode_s += seconds_since(waiting);
    if (!l.frame.error.empty()) {
      failure_ = fmt::format("frame {}: {}", started_, l.frame.error);
      count_ = started_;
      return;
    }
    l.start = Clock::now();
    const Shape shape{1, l.frame.image.height, l.frame.image.width, 3};
    if (!l.image.defined() || l.image.shape() != shape) {
      l.image = Tensor::empty(shape, DType::u8, device_);
      l.map = Tensor::empty({1, shape[1], shape[2]}, DType::u8, device_);
      l.host = data::HostBuffer(pool_, l.map.nbytes());
    }
    copies_.to_device(l.image.raw(), l.frame.pixels.data(), l.image.nbytes());
    ++started_;
  }

  void finish(int64_t i) {
    Lane& l = lane(i);
    const auto waiting = Clock::now();
    copies_.wait(l.copy);
    stats_.wait_device_s += seconds_since(waiting);
    stats_.latency_ms.push_back(1000 * seconds_since(l.start));
    data::Image map(l.frame.image.height, l.frame.image.width, 1);
    std::memcpy(map.pixels.data(), l.host.data(), map.pixels.size());
    const auto handing = Clock::now();
    sink_(i, l.frame.image, std::move(map));
    stats_.sink_s += seconds_since(handing);
    ++stats_.frames;
  }

  Device& device_;
  ImageToMap& network_;
  const StreamingInference::Sink& sink_;
  int64_t count_, started_ = 0;  // frames in all; those whose copy to the device has been started
  std::string failure_;
  StreamingInference::Stats stats_;
  std::shared_ptr<data::HostPool> pool_;
  std::array<Lane, kLanes> lanes_;
  AsyncCopies copies_;  // behind the lanes, before which it goes: it waits for what is under way
  Decoder decoder_;
};
}  // namespace

StreamingInference::StreamingInference(models::Model& model, Device& device, const Options& options)
    : network_(model, device, options.inference), device_(device), options_(options) {
  if (options.workers < 1)
    throw ArgumentError(fmt::format("streaming: workers: expected 1 or more, got {}", options.workers));
}

StreamingInference::Stats StreamingInference::run(int64_t count, const Source& source, const Sink& sink) {
  return Pipeline(device_, network_, count, options_.workers, source, sink).run();
}

}  // namespace segrt::train
