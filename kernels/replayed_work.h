// Work over fixed inputs that is done again and again: recorded once where the device has graphs, and replayed.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/tensor.h"
#include "kernels/device_graph.h"

namespace segrt::kernels {

class ReplayedWork {
 public:
  // `work` returns its result. What it reads and does not make must outlive this object and stay where it is; what it
  // keeps (folded weights) is recorded as well, so weights must not change. It runs once here where it is recorded.
  ReplayedWork(Device& device, std::function<Tensor()> work, bool capture = true);

  // The result, on a device with graphs the same tensor every time: the next run overwrites it.
  Tensor run();
  // Why runs are no replays; empty if they are.
  const std::string& reason() const { return reason_; }
  bool replays() const { return graph_ != nullptr; }

 private:
  Device& device_;
  std::function<Tensor()> work_;
  std::string reason_;
  Tensor result_;
  std::unique_ptr<DeviceGraph> graph_;
};

}  // namespace segrt::kernels
