// Points in time in the order of a device's work: on a GPU events on its compute stream, elsewhere the steady clock.
#pragma once

#include <memory>

#include "core/device.h"

namespace segrt {

class DeviceMarks {
 public:
  explicit DeviceMarks(Device& device);
  ~DeviceMarks();
  DeviceMarks(const DeviceMarks&) = delete;
  DeviceMarks& operator=(const DeviceMarks&) = delete;

  size_t mark();  // reached when the work queued so far is done; the host does not wait. Its number, from 0
  size_t count() const;
  // Between two marks. After device.synchronize().
  double ms(size_t from, size_t to) const;
  void clear();  // forgets all; what they took is kept for the next ones

 private:
  class Clock;
  class HostClock;
  class CudaClock;
  std::unique_ptr<Clock> clock_;
};

}  // namespace segrt
