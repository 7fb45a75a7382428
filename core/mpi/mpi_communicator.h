// A Communicator over MPI. Tensors of a device with memory of its own travel through host memory.
#pragma once

#include <mpi.h>

#include <memory>

#include "core/communicator.h"
#include "core/mpi/mpi_session.h"

namespace segrt {

class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(std::shared_ptr<MpiSession> session);
  ~MpiCommunicator() override;

  void barrier() override;
  std::unique_ptr<Communicator> duplicate() override { return std::make_unique<MpiCommunicator>(session_); }
  bool capturable() const override { return false; }  // the host is part of every operation
  void report_step(int64_t step) override { session_->report_step(step); }
  void start_recording() override { recorder_->start(); }
  std::vector<CommunicationSpan> stop_recording() override { return recorder_->stop(); }

 private:
  class Queue;

  Communication start_all_reduce(const Tensor& t, std::string_view name) override;
  void do_broadcast(const Tensor& t, int root) override;
  void do_all_gather(const Tensor& part, const Tensor& all) override;
  void do_all_reduce_together(const std::vector<Tensor>& tensors) override;
  void do_all_gather_together(const std::vector<Gathered>& gathered) override;

  std::shared_ptr<MpiSession> session_;
  std::shared_ptr<Queue> queue_;  // with the thread that carries out what does not block its caller
  std::shared_ptr<CommunicationRecorder> recorder_ = std::make_shared<CommunicationRecorder>();
};

}  // namespace segrt
