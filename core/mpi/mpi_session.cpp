#include "core/mpi/mpi_session.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <exception>

#include "core/communicator.h"

namespace segrt {
namespace {
using std::chrono::milliseconds;

int64_t now_ms() {
  return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

constexpr int kHeartbeatTag = 1;
// Polls of a request before a waiting thread gives its core away for longer: a message between processes of one
// machine takes microseconds, the others' computing takes milliseconds.
constexpr int kEagerPolls = 200;
constexpr std::chrono::microseconds kPause{50};

milliseconds heartbeat_period(double timeout_s) {
  return milliseconds(std::clamp<int64_t>(static_cast<int64_t>(timeout_s * 1000 / 20), 20, 5000));
}
}  // namespace

void check_mpi(int status, const char* call) {
  if (status == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(status, text.data(), &length);
  throw CommunicationError(fmt::format("{}: {}", call, std::string_view(text.data(), static_cast<size_t>(length))));
}

std::shared_ptr<MpiSession> MpiSession::open(double timeout_s) {
  return std::shared_ptr<MpiSession>(new MpiSession(timeout_s));
}

MpiSession::MpiSession(double timeout_s) : timeout_s_(timeout_s) {
  int initialized = 0, provided = 0;
  check_mpi(MPI_Initialized(&initialized), "MPI_Initialized");
  if (initialized != 0) throw CommunicationError("MPI: a process opens it once; duplicate the communicator instead");
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  if (provided < MPI_THREAD_MULTIPLE)
    throw CommunicationError("MPI_Init_thread: this MPI does not serve several threads (MPI_THREAD_MULTIPLE)");
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size");
  std::array<char, MPI_MAX_PROCESSOR_NAME> name{};
  int length = 0;
  check_mpi(MPI_Get_processor_name(name.data(), &length), "MPI_Get_processor_name");
  std::vector<char> names(static_cast<size_t>(size_) * name.size());
  check_mpi(MPI_Allgather(name.data(), static_cast<int>(name.size()), MPI_CHAR, names.data(),
                          static_cast<int>(name.size()), MPI_CHAR, MPI_COMM_WORLD),
            "MPI_Allgather");
  for (int r = 0; r < size_; ++r) hosts_.emplace_back(names.data() + static_cast<size_t>(r) * name.size());
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &heartbeats_), "MPI_Comm_dup");
  last_.resize(static_cast<size_t>(size_));
  last_at_.assign(static_cast<size_t>(size_), now_ms());
  watch_ = std::thread([this] { watch(); });
}

MpiSession::~MpiSession() {
  stop_ = true;
  watch_.join();
  if (std::uncaught_exceptions() > 0) return;  // see the class
  MPI_Comm_free(&heartbeats_);
  MPI_Finalize();
}

void MpiSession::abort_if_running(int exit_code) {
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (initialized != 0 && finalized == 0) MPI_Abort(MPI_COMM_WORLD, exit_code);
}

void MpiSession::wait(MPI_Request& request, std::string_view operation) {
  const int64_t start = now_ms();
  operations_.fetch_add(1, std::memory_order_relaxed);
  {
    const std::lock_guard lock(waits_mutex_);
    waits_.insert(start);
  }
  // Process 0 judges at the timeout and knows who is behind; who has heard nothing of that ends everything itself.
  const auto limit = static_cast<int64_t>(timeout_s_ * 1000) + 4 * heartbeat_period(timeout_s_).count();
  for (int polls = 0;; ++polls) {
    int done = 0;
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (done != 0) break;
    if (polls < kEagerPolls) {
      sched_yield();
      continue;
    }
    std::this_thread::sleep_for(kPause);
    if (now_ms() - start > limit)
      end_all(
          fmt::format("rank {} ({}), last step {}: no answer to {} within {:.1f} s, and rank 0 ({}) has not said "
                      "why",
                      rank_, host(), step_.load(), operation, static_cast<double>(now_ms() - start) / 1000, hosts_[0]));
  }
  const std::lock_guard lock(waits_mutex_);
  waits_.erase(waits_.find(start));
}

Heartbeat MpiSession::own() const {
  const std::lock_guard lock(waits_mutex_);
  return {.step = step_.load(),
          .operations = operations_.load(),
          .waiting_ms = waits_.empty() ? 0 : now_ms() - *waits_.begin()};
}

void MpiSession::watch() {
  const milliseconds period = heartbeat_period(timeout_s_);
  int64_t next = now_ms();
  while (!stop_) {
    std::this_thread::sleep_for(std::min(period, milliseconds(50)));  // so that the end is not waited for
    if (rank_ == 0) receive_heartbeats();
    if (now_ms() < next) continue;
    next = now_ms() + period.count();
    if (rank_ != 0)
      send_heartbeat();
    else
      judge();
  }
  // Process 0 takes what is on its way, so that nothing is left of the communicator.
  if (rank_ == 0) receive_heartbeats();
}

// Short enough to leave at once, whether or not it is received.
void MpiSession::send_heartbeat() {
  const Heartbeat now = own();
  MPI_Send(&now, sizeof now, MPI_BYTE, 0, kHeartbeatTag, heartbeats_);
}

void MpiSession::receive_heartbeats() {
  for (;;) {
    int there = 0;
    MPI_Status status;
    if (MPI_Iprobe(MPI_ANY_SOURCE, kHeartbeatTag, heartbeats_, &there, &status) != MPI_SUCCESS || there == 0) return;
    const auto from = static_cast<size_t>(status.MPI_SOURCE);
    MPI_Recv(&last_[from], sizeof(Heartbeat), MPI_BYTE, status.MPI_SOURCE, kHeartbeatTag, heartbeats_,
             MPI_STATUS_IGNORE);
    last_at_[from] = now_ms();
  }
}

// Somebody has waited too long: the process that has begun the fewest operations is the one that is waited for.
void MpiSession::judge() {
  last_[0] = own();
  last_at_[0] = now_ms();
  const auto longest = std::max_element(
      last_.begin(), last_.end(), [](const Heartbeat& a, const Heartbeat& b) { return a.waiting_ms < b.waiting_ms; });
  if (static_cast<double>(longest->waiting_ms) < timeout_s_ * 1000) return;
  const auto behind = std::min_element(
      last_.begin(), last_.end(), [](const Heartbeat& a, const Heartbeat& b) { return a.operations < b.operations; });
  const auto rank = static_cast<size_t>(behind - last_.begin());
  end_all(
      fmt::format("rank {} ({}) does not answer: its last step is {}, {:.1f} s since its last sign of life; rank {} "
                  "({}) has waited for {:.1f} s (train.comm_timeout = {:g})",
                  rank, hosts_[rank], behind->step, static_cast<double>(now_ms() - last_at_[rank]) / 1000,
                  longest - last_.begin(), hosts_[static_cast<size_t>(longest - last_.begin())],
                  static_cast<double>(longest->waiting_ms) / 1000, timeout_s_));
}

void MpiSession::end_all(const std::string& message) const {
  fmt::print(stderr, "error: {}; all processes are ended\n", message);
  std::fflush(stderr);
  MPI_Abort(MPI_COMM_WORLD, 1);
  std::abort();
}

}  // namespace segrt
