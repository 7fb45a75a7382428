// Several processes that compute one result: what they tell each other. Every process calls the same operations in the
// same order. Results are the same bits in every process and every run: sums are taken in the order of the ranks.
// Implementations: one process alone (nothing happens), MPI (core/mpi), NCCL beside MPI (core/nccl).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/communication_recorder.h"
#include "core/error.h"
#include "core/tensor.h"

namespace segrt {

// Another process is gone, or the library between them reports a failure.
class CommunicationError : public Error {
 public:
  using Error::Error;
};

// An operation under way. Until wait() its tensor belongs to it.
class Communication {
 public:
  Communication() = default;  // nothing to wait for
  explicit Communication(std::function<void()> wait) : wait_(std::move(wait)) {}
  // Work queued on the tensor's device from now on sees the result; on a CPU it is there. Throws what the operation
  // failed with.
  void wait() {
    if (wait_) std::exchange(wait_, nullptr)();
  }
  bool pending() const { return static_cast<bool>(wait_); }

 private:
  std::function<void()> wait_;
};

class Communicator {
 public:
  struct Options {
    double timeout_s = 600;  // of a wait for other processes; then all are ended, and the one that is behind is named
  };
  // Between the processes that mpirun or srun has started, for tensors on `device` and on CPUs; alone otherwise. MPI is
  // initialised only in the first case. Throws DeviceError where several were started and this build has no MPI.
  static std::unique_ptr<Communicator> open(Device& device, const Options& options);
  static std::unique_ptr<Communicator> open(Device& device) { return open(device, Options{}); }
  static std::unique_ptr<Communicator> alone();
  // How many processes the environment says were started together: of Open MPI, MPICH (PMI), Slurm; else 1.
  static int launched();
  // Which of those on this machine this one is, from 0.
  static int local_rank();
  // Ends all of them, without waiting for anybody; returns where MPI does not run.
  static void abort_all(int exit_code);

  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  const std::string& host() const { return host_; }  // name of this machine

  // t = sum over the processes, in place. f32, f64, i64; bf16 and f16 are summed in f32 and rounded once (NCCL: summed
  // as it does). Work that is queued on the tensor's device comes first.
  void all_reduce(const Tensor& t) { all_reduce(std::vector<Tensor>{t}); }
  // Returns at once; operations of one communicator are carried out in the order of the calls. `name`: in recordings.
  Communication all_reduce_async(const Tensor& t, std::string_view name = "all_reduce");
  // Of several tensors of one type and device in one message, with the bits of a message each.
  void all_reduce(const std::vector<Tensor>& tensors);
  // t = that of process `root`. Any type.
  void broadcast(const Tensor& t, int root);
  // all [size, ...]: row r is the part of process r. Any type.
  void all_gather(const Tensor& part, const Tensor& all);
  // Several of those in one message.
  struct Gathered {
    Tensor part, all;
  };
  void all_gather(const std::vector<Gathered>& gathered);
  // Row r is value[r]: host numbers.
  std::vector<int64_t> all_gather(int64_t value);
  // Returns when all have called it.
  virtual void barrier() = 0;

  // Another one between the same processes. Its operations do not wait for those of this one.
  virtual std::unique_ptr<Communicator> duplicate() = 0;
  // Whether operations on device tensors can be part of a recorded graph.
  virtual bool capturable() const { return true; }
  // For the message about a process that is behind: where this one is.
  virtual void report_step(int64_t /*step*/) {}

  // Records operations with their times from now on. The end of it gives those that have ended, in that order; of one
  // process alone there are none. Not those of duplicates, which record their own.
  virtual void start_recording() {}
  virtual std::vector<CommunicationSpan> stop_recording() { return {}; }

 protected:
  Communicator(int rank, int size, std::string host) : rank_(rank), size_(size), host_(std::move(host)) {}
  virtual Communication start_all_reduce(const Tensor& t, std::string_view name) = 0;
  virtual void do_broadcast(const Tensor& t, int root) = 0;
  virtual void do_all_gather(const Tensor& part, const Tensor& all) = 0;
  virtual void do_all_reduce_together(const std::vector<Tensor>& tensors) = 0;
  virtual void do_all_gather_together(const std::vector<Gathered>& gathered) = 0;

 private:
  int rank_, size_;
  std::string host_;
  std::unique_ptr<Device> cpu_;  // for host numbers
};

}  // namespace segrt
