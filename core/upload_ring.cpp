#include "core/upload_ring.h"

#if SEGRT_HAS_CUDA
#include <array>
#include <deque>

#include "core/cuda/check.h"
#include "core/cuda/cuda_device.h"
#endif

namespace segrt {

#if SEGRT_HAS_CUDA
struct UploadRing::Streams {
  explicit Streams(CudaDevice& cuda_device) : device(cuda_device) {}
  ~Streams() { static_cast<void>(cudaStreamSynchronize(device.copy_stream())); }  // before sources are let go

  std::vector<Tensor> upload(const std::vector<Part>& parts, std::shared_ptr<const void> owner);
  void let_go();
  void record(CudaEvent& event, cudaStream_t stream);

  struct Slot {
    std::vector<Tensor> tensors;
    CudaEvent used;  // on the compute stream: what read the tensors is done
  };
  struct Outstanding {
    CudaEvent copied;  // on the copy stream
    std::shared_ptr<const void> owner;
  };
  CudaDevice& device;
  std::array<Slot, 2> slots;
  size_t current = 0;
  std::deque<Outstanding> outstanding;  // oldest first
  std::vector<CudaEvent> idle;          // events for reuse
};

void UploadRing::Streams::record(CudaEvent& event, cudaStream_t stream) {
  if (event.get() == nullptr) {
    cudaEvent_t raw = nullptr;
    check(cudaEventCreateWithFlags(&raw, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    event = CudaEvent(raw);
  }
  check(cudaEventRecord(event.get(), stream), "cudaEventRecord");
}

// Sources of finished copies, and of the oldest where too many are outstanding.
void UploadRing::Streams::let_go() {
  while (!outstanding.empty()) {
    const cudaEvent_t copied = outstanding.front().copied.get();
    if (outstanding.size() >= kOutstanding) {
      check(cudaEventSynchronize(copied), "cudaEventSynchronize");
    } else {
      const cudaError_t status = cudaEventQuery(copied);
      if (status == cudaErrorNotReady) return;
      check(status, "cudaEventQuery");
    }
    idle.push_back(std::move(outstanding.front().copied));
    outstanding.pop_front();
  }
}

std::vector<Tensor> UploadRing::Streams::upload(const std::vector<Part>& parts, std::shared_ptr<const void> owner) {
  device.require_not_capturing("an upload");
  let_go();
  record(slots[current].used, device.stream());
  current = (current + 1) % slots.size();
  Slot& slot = slots[current];
  slot.tensors.resize(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    Tensor& t = slot.tensors[i];
    if (t.defined() && t.shape() == parts[i].shape && t.dtype() == parts[i].dtype) continue;
    t = Tensor::empty(parts[i].shape, parts[i].dtype, device);
    record(slot.used, device.stream());  // its memory may have been another tensor's
  }
  check(cudaStreamWaitEvent(device.copy_stream(), slot.used.get(), 0), "cudaStreamWaitEvent");
  for (size_t i = 0; i < parts.size(); ++i) {
    const Tensor& t = slot.tensors[i];
    if (t.nbytes() > 0)
      check(cudaMemcpyAsync(t.raw(), parts[i].source, t.nbytes(), cudaMemcpyHostToDevice, device.copy_stream()),
            "cudaMemcpyAsync", [&] { return "of " + describe(t); });
  }
  Outstanding copy;
  if (!idle.empty()) {
    copy.copied = std::move(idle.back());
    idle.pop_back();
  }
  copy.owner = std::move(owner);
  record(copy.copied, device.copy_stream());
  check(cudaStreamWaitEvent(device.stream(), copy.copied.get(), 0), "cudaStreamWaitEvent");
  outstanding.push_back(std::move(copy));
  return slot.tensors;
}
#else
struct UploadRing::Streams {
  std::vector<Tensor> upload(const std::vector<Part>&, std::shared_ptr<const void>) { return {}; }
};
#endif

UploadRing::UploadRing(Device& device) : device_(device) {
#if SEGRT_HAS_CUDA
  if (device.is_cuda()) streams_ = std::make_unique<Streams>(cuda_device(device));
#endif
}
UploadRing::~UploadRing() = default;

std::vector<Tensor> UploadRing::upload(const std::vector<Part>& parts, std::shared_ptr<const void> owner) {
  if (streams_) return streams_->upload(parts, std::move(owner));
  std::vector<Tensor> tensors;
  for (const Part& part : parts) {
    tensors.push_back(Tensor::empty(part.shape, part.dtype, device_));
    device_.copy_from_host(tensors.back().raw(), part.source, tensors.back().nbytes());
  }
  return tensors;
}

}  // namespace segrt
