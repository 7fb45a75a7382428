#include "core/device_marks.h"

#include <chrono>
#include <vector>

#if SEGRT_HAS_CUDA
#include "core/cuda/check.h"
#include "core/cuda/cuda_device.h"
#endif

namespace segrt {

class DeviceMarks::Clock {
 public:
  virtual ~Clock() = default;
  virtual size_t mark() = 0;
  virtual size_t count() const = 0;
  virtual double ms(size_t from, size_t to) const = 0;
  virtual void clear() = 0;
};

class DeviceMarks::HostClock final : public Clock {
 public:
  size_t mark() override {
    times_.push_back(std::chrono::steady_clock::now());
    return times_.size() - 1;
  }
  size_t count() const override { return times_.size(); }
  double ms(size_t from, size_t to) const override {
    return std::chrono::duration<double, std::milli>(times_.at(to) - times_.at(from)).count();
  }
  void clear() override { times_.clear(); }

 private:
  std::vector<std::chrono::steady_clock::time_point> times_;
};

#if SEGRT_HAS_CUDA
class DeviceMarks::CudaClock final : public Clock {
 public:
  explicit CudaClock(Device& device) : device_(device) {}
  size_t mark() override {
    if (used_ == events_.size()) {
      cudaEvent_t raw = nullptr;
      check(cudaEventCreateWithFlags(&raw, cudaEventDefault), "cudaEventCreateWithFlags");
      events_.emplace_back(raw);
    }
    check(cudaEventRecord(events_[used_].get(), cuda_stream(device_)), "cudaEventRecord");
    return used_++;
  }
  size_t count() const override { return used_; }
  double ms(size_t from, size_t to) const override {
    float elapsed = 0;
    check(cudaEventElapsedTime(&elapsed, events_.at(from).get(), events_.at(to).get()), "cudaEventElapsedTime");
    return elapsed;
  }
  void clear() override { used_ = 0; }

 private:
  Device& device_;
  std::vector<CudaEvent> events_;
  size_t used_ = 0;
};
#endif

DeviceMarks::DeviceMarks(Device& device) {
#if SEGRT_HAS_CUDA
  if (device.is_cuda()) {
    clock_ = std::make_unique<CudaClock>(device);
    return;
  }
#endif
  static_cast<void>(device);
  clock_ = std::make_unique<HostClock>();
}
DeviceMarks::~DeviceMarks() = default;

size_t DeviceMarks::mark() { return clock_->mark(); }
size_t DeviceMarks::count() const { return clock_->count(); }
double DeviceMarks::ms(size_t from, size_t to) const { return clock_->ms(from, to); }
void DeviceMarks::clear() { clock_->clear(); }

}  // namespace segrt
