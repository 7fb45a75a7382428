// MPI in this process, from initialisation to its end, and what is watched while it runs.
#pragma once

#include <mpi.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace segrt {

// Where a process stands; sent to process 0 again and again.
struct Heartbeat {
  int64_t step = -1;       // of training; -1: none yet
  int64_t operations = 0;  // that it has begun: who waits has begun one more than who is waited for
  int64_t waiting_ms = 0;  // in the operation that it is in
};

// MPI_Init to MPI_Finalize. Communicators share it. A process that ends because of an exception does not finalize,
// which would wait for the others: mpirun ends them.
class MpiSession {
 public:
  static std::shared_ptr<MpiSession> open(double timeout_s);
  static void abort_if_running(int exit_code);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  const std::string& host() const { return hosts_[static_cast<size_t>(rank_)]; }

  // Completes a request while other threads may complete theirs. After the timeout, all processes are ended.
  void wait(MPI_Request& request, std::string_view operation);
  void report_step(int64_t step) { step_.store(step, std::memory_order_relaxed); }

 private:
  explicit MpiSession(double timeout_s);
  void watch();
  void send_heartbeat();
  void receive_heartbeats();
  void judge();
  [[noreturn]] void end_all(const std::string& message) const;
  Heartbeat own() const;

  double timeout_s_;
  int rank_ = 0, size_ = 1;
  std::vector<std::string> hosts_;  // by rank
  std::atomic<int64_t> step_{-1}, operations_{0};
  mutable std::mutex waits_mutex_;
  std::multiset<int64_t> waits_;  // since when, ms of the clock, threads of this process wait

  // The watch: a thread of its own, over a communicator of its own.
  MPI_Comm heartbeats_ = MPI_COMM_NULL;
  std::vector<Heartbeat> last_;   // process 0: the last of each
  std::vector<int64_t> last_at_;  // when it came, ms of the clock
  std::atomic<bool> stop_{false};
  std::thread watch_;
};

// Throws CommunicationError with the call and MPI's words.
void check_mpi(int status, const char* call);

}  // namespace segrt
