// A Communicator over NCCL for tensors on a GPU, bootstrapped through MPI, which stays in charge of tensors on CPUs.
#pragma once

#include <nccl.h>

#include <atomic>
#include <memory>
#include <thread>

#include "core/communicator.h"
#include "core/cuda/cuda_device.h"

namespace segrt {

// Operations run on a stream of their own, behind the work queued on the device's compute stream so far; the compute
// stream waits for them in Communication::wait, the host never. They can be recorded in graphs. NCCL sums 16-bit types
// as it does, in an order that depends on where the GPUs are: the same bits in all processes, and in every run on the
// same machines.
// Several of these on one GPU are safe because every process issues their operations from one thread, in one order.
class NcclCommunicator final : public Communicator {
 public:
  // `hosts`: between the same processes. Throws CommunicationError.
  NcclCommunicator(Device& device, std::unique_ptr<Communicator> hosts);
  ~NcclCommunicator() override;

  void barrier() override;
  std::unique_ptr<Communicator> duplicate() override;
  void report_step(int64_t step) override { hosts_->report_step(step); }
  void start_recording() override;
  std::vector<CommunicationSpan> stop_recording() override;  // waits for the last operation

 private:
  Communication start_all_reduce(const Tensor& t, std::string_view name) override;
  void do_broadcast(const Tensor& t, int root) override;
  void do_all_gather(const Tensor& part, const Tensor& all) override;
  void do_all_reduce_together(const std::vector<Tensor>& tensors) override;  // one group: one launch
  void do_all_gather_together(const std::vector<Gathered>& gathered) override;
  // Calls start(stream) between two events: after the work queued so far, and before what the wait() of the result
  // orders behind it. `kept` lives until then; `bytes` of it are recorded as `name`.
  template <typename Start>
  Communication ordered(std::string_view name, size_t bytes, const Start& start, std::vector<Tensor> kept);
  void watch();

  struct Recorded {  // between two events with times
    CommunicationSpan span;
    CudaEvent start, end;
  };

  CudaDevice& gpu_;
  std::unique_ptr<Communicator> hosts_;
  CudaStream stream_;
  ncclComm_t comm_ = nullptr;
  CudaEvent recording_since_;  // null: nothing is recorded
  std::vector<Recorded> recorded_;
  std::atomic<bool> stop_{false};
  std::thread watch_;  // for errors that NCCL finds while the GPU is in an operation
};

}  // namespace segrt
