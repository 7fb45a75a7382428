// Data on its way from page-locked host memory to a device: a copy of one batch runs while the device computes on the
// one before, and the host waits for neither.
#pragma once

#include <memory>
#include <vector>

#include "core/tensor.h"

namespace segrt {

class UploadRing {
 public:
  // Uploads whose copies may be outstanding before the host waits for the oldest. It bounds the host memory that is
  // held, and how far a host may run ahead of its device.
  static constexpr int kOutstanding = 16;

  struct Part {
    const void* source;  // from Device::allocate_host
    Shape shape;
    DType dtype;
  };

  explicit UploadRing(Device& device);  // which must outlive it
  ~UploadRing();
  UploadRing(const UploadRing&) = delete;
  UploadRing& operator=(const UploadRing&) = delete;

  // The parts on the device, for work queued from now on. They are overwritten by the upload after the next, once the
  // work that was queued before the next is done. `owner` keeps the sources alive and is let go once they are copied.
  std::vector<Tensor> upload(const std::vector<Part>& parts, std::shared_ptr<const void> owner);

 private:
  struct Streams;  // of a CUDA device; null on others, which copy at once

  Device& device_;
  std::unique_ptr<Streams> streams_;
};

}  // namespace segrt
