// The tensors that live on a device, for the report of one that is out of memory: who holds how much.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "core/dtype.h"
#include "core/shape.h"

namespace segrt {

class Device;

// A storage, as it was made. `op` is a literal; empty for tensors made outside of all scopes.
struct LiveTensor {
  Shape shape;
  DType dtype = DType::f32;
  size_t nbytes = 0;
  std::string_view op;
  bool backward = false;
  LiveTensor* previous = nullptr;
  LiveTensor* next = nullptr;
};

// Tensors may be made and die in any thread.
class LiveTensors {
 public:
  void add(LiveTensor& tensor);
  void remove(LiveTensor& tensor) noexcept;
  int64_t nbytes() const;
  // One line for each of the `most` operators whose tensors take most, largest first:
  //   "    12.1 GiB  conv2d: 24 x f32 [8,128,128,64] (8.0 GiB), 12 x ..., 3 more shapes"
  std::string holders(size_t most) const;

 private:
  mutable std::mutex mutex_;
  LiveTensor* first_ = nullptr;
  int64_t nbytes_ = 0;
};

// Kept with each device; storages share it, as caches may hold tensors until the device is gone.
struct LiveTensorsOfDevice {
  std::shared_ptr<LiveTensors> tensors = std::make_shared<LiveTensors>();
  const LiveTensor* wanted = nullptr;  // the tensor that memory is being taken for
};

struct MemoryShortage {
  size_t wanted_bytes = 0;   // asked for
  int64_t held_bytes = 0;    // by live blocks
  int64_t cached_bytes = 0;  // by the allocator, for reuse
  // Of the device; negative where that is not known.
  int64_t free_bytes = -1, total_bytes = -1;
};
// Throws DeviceError that says what was wanted by whom and who holds what.
// "cuda:0: out of memory: 1.5 GiB wanted by conv2d in layer3; 70.0 GiB held, 1.0 GiB cached, ..."; what: "by ..."
std::string describe(std::string_view device, const MemoryShortage& shortage, std::string_view whose = {});
[[noreturn]] void throw_out_of_memory(Device& device, const MemoryShortage& shortage);

std::string readable_bytes(int64_t nbytes);  // "1.5 GiB"

}  // namespace segrt
