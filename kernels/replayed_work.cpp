#include "kernels/replayed_work.h"

#include "core/error.h"
#include "core/op_scope.h"

namespace segrt::kernels {

ReplayedWork::ReplayedWork(Device& device, std::function<Tensor()> work, bool capture)
    : device_(device), work_(std::move(work)) {
  if (!capture)
    reason_ = "capture is off";
  else if (!DeviceGraph::supported(device))
    reason_ = "on " + device.name() + " there are no graphs";
  else if (watched(device))
    reason_ = "somebody looks at every layer";
  if (!reason_.empty()) return;
  try {
    DeviceGraph::rehearse(device, [this] { result_ = work_(); });
    graph_ = std::make_unique<DeviceGraph>(device, [this] { result_ = work_(); });
  } catch (const Error& error) {
    result_ = Tensor();
    graph_.reset();
    reason_ = std::string("cannot be captured: ") + error.what();
  }
}

Tensor ReplayedWork::run() {
  if (graph_ == nullptr || watched(device_)) return work_();
  graph_->replay();
  return result_;
}

}  // namespace segrt::kernels
