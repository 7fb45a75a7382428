// Copies between the host and a device that travel while the device computes, both ways at once. On a device without
// streams they are done when the call returns.
#pragma once

#include <cstddef>
#include <memory>

#include "core/device.h"

namespace segrt {

class AsyncCopies {
 public:
  explicit AsyncCopies(Device& device);
  ~AsyncCopies();  // waits for what it has started
  AsyncCopies(const AsyncCopies&) = delete;
  AsyncCopies& operator=(const AsyncCopies&) = delete;

  bool overlap() const { return streams_ != nullptr; }  // whether copies travel while the device computes
  // Host memory is from Device::allocate_host. To the device: starts when the work queued so far is done with
  // `destination`; `source` stays as it is until work that use() has ordered behind it has been waited for.
  void to_device(void* destination, const void* source, size_t nbytes);
  // Work queued from now on sees what to_device has copied.
  void use();
  // To the host: starts when the work queued so far has written `source`. Returns a slot, taken until wait(slot).
  size_t to_host(void* destination, const void* source, size_t nbytes);
  void wait(size_t slot);  // the host waits; `destination` then holds the data, and `source` may be written again

 private:
  struct Streams;  // CUDA
  Device& device_;
  std::unique_ptr<Streams> streams_;
};

}  // namespace segrt
