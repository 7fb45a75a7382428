#include "core/mpi/mpi_communicator.h"

#include <fmt/format.h>

#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>

#include "core/mpi/rank_order_sum.h"

namespace segrt {
namespace {
using Clock = CommunicationRecorder::Clock;

// A tensor's bytes where MPI can reach them: of a CPU the tensor's own, else a copy that goes back with store().
class HostBytes {
 public:
  HostBytes(const Tensor& t, bool read) : tensor_(t) {
    if (t.device().is_cpu()) return;
    copy_.resize(t.nbytes());
    if (read) t.device().copy_to_host(copy_.data(), t.raw(), t.nbytes());  // waits for what writes t
  }
  void* data() { return tensor_.device().is_cpu() ? tensor_.raw() : copy_.data(); }
  int bytes() const {
    if (tensor_.nbytes() > static_cast<size_t>(std::numeric_limits<int>::max()))
      throw CommunicationError("MPI: a message of more than 2 GiB: " + describe(tensor_));
    return static_cast<int>(tensor_.nbytes());
  }
  void store() {
    if (!tensor_.device().is_cpu()) tensor_.device().copy_from_host(tensor_.raw(), copy_.data(), copy_.size());
  }

 private:
  Tensor tensor_;
  std::vector<char> copy_;
};
}  // namespace

// Operations in the order of their calls. The thread starts with the first that shall not block its caller.
class MpiCommunicator::Queue {
 public:
  explicit Queue(std::shared_ptr<MpiSession> session) : session_(std::move(session)) {
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm_), "MPI_Comm_dup");
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  }
  ~Queue() {
    if (std::uncaught_exceptions() == 0) MPI_Comm_free(&comm_);
  }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  struct Job {
    std::function<void()> work;
    std::exception_ptr failure;
    bool done = false;
  };

  MPI_Comm comm() const { return comm_; }
  MpiSession& session() { return *session_; }
  std::vector<char>& scratch() { return scratch_; }  // of its jobs, and of whoever has drained it

  static std::shared_ptr<Job> push(const std::shared_ptr<Queue>& queue, std::function<void()> work) {
    auto job = std::make_shared<Job>();
    job->work = std::move(work);
    const std::lock_guard lock(queue->mutex_);
    queue->jobs_.push_back(job);
    // It keeps the queue alive by itself: see stop().
    if (!queue->thread_.joinable()) queue->thread_ = std::thread([queue] { queue->run(); });
    queue->changed_.notify_all();
    return job;
  }
  void wait(Job& job) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return job.done; });
    if (job.failure) std::rethrow_exception(job.failure);
  }
  // Until all that has been pushed is done: what the caller does next comes behind it.
  void drain() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return jobs_.empty(); });
  }
  // When an exception ends the process, the others may never answer what is under way: the thread is left behind.
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
      changed_.notify_all();
    }
    if (!thread_.joinable()) return;
    std::uncaught_exceptions() > 0 ? thread_.detach() : thread_.join();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return stop_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      const std::shared_ptr<Job> job = jobs_.front();
      lock.unlock();
      try {
        job->work();
      } catch (...) {
        job->failure = std::current_exception();
      }
      job->work = nullptr;
      lock.lock();
      jobs_.pop_front();
      job->done = true;
      changed_.notify_all();
    }
  }

  std::shared_ptr<MpiSession> session_;
  MPI_Comm comm_ = MPI_COMM_NULL;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Job>> jobs_;
  bool stop_ = false;
  std::vector<char> scratch_;
  std::thread thread_;
};

MpiCommunicator::MpiCommunicator(std::shared_ptr<MpiSession> session)
    : Communicator(session->rank(), session->size(), session->host()),
      session_(std::move(session)),
      queue_(std::make_shared<Queue>(session_)) {}

MpiCommunicator::~MpiCommunicator() { queue_->stop(); }

Communication MpiCommunicator::start_all_reduce(const Tensor& t, std::string_view name) {
  auto bytes = std::make_shared<HostBytes>(t, true);
  const auto job =
      Queue::push(queue_, [queue = queue_.get(), bytes, count = t.numel(), dtype = t.dtype(), recorder = recorder_,
                           queued = Clock::now(), name = recorder_->on() ? std::string(name) : std::string()] {
        const Clock::time_point start = Clock::now();
        rank_order_sum(queue->session(), queue->comm(), bytes->data(), count, dtype, queue->scratch());
        recorder->add(name, count * static_cast<int64_t>(size_of(dtype)), queued, start);
      });
  return Communication([queue = queue_, job, bytes] {
    queue->wait(*job);
    bytes->store();
  });
}

void MpiCommunicator::do_broadcast(const Tensor& t, int root) {
  const Clock::time_point queued = Clock::now();
  queue_->drain();
  const Clock::time_point start = Clock::now();
  HostBytes bytes(t, rank() == root);
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibcast(bytes.data(), bytes.bytes(), MPI_BYTE, root, queue_->comm(), &request), "MPI_Ibcast");
  session_->wait(request, "broadcast");
  if (rank() != root) bytes.store();
  recorder_->add("broadcast", static_cast<int64_t>(t.nbytes()), queued, start);
}

void MpiCommunicator::do_all_gather(const Tensor& part, const Tensor& all) {
  const Clock::time_point queued = Clock::now();
  queue_->drain();
  const Clock::time_point start = Clock::now();
  HostBytes mine(part, true), everybody(all, false);
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallgather(mine.data(), mine.bytes(), MPI_BYTE, everybody.data(), mine.bytes(), MPI_BYTE,
                           queue_->comm(), &request),
            "MPI_Iallgather");
  session_->wait(request, "all_gather");
  everybody.store();
  recorder_->add("all_gather", static_cast<int64_t>(part.nbytes()), queued, start);
}

void MpiCommunicator::do_all_reduce_together(const std::vector<Tensor>& tensors) {
  const Clock::time_point queued = Clock::now();
  queue_->drain();
  const Clock::time_point start = Clock::now();
  const DType dtype = tensors[0].dtype();
  const auto size = static_cast<int64_t>(size_of(dtype));
  std::vector<HostBytes> parts;
  int64_t count = 0;
  for (const Tensor& t : tensors) {
    parts.emplace_back(t, true);
    count += t.numel();
  }
  if (parts.size() == 1) {  // summed where it is
    rank_order_sum(*session_, queue_->comm(), parts[0].data(), count, dtype, queue_->scratch());
    parts[0].store();
    recorder_->add("all_reduce", count * size, queued, start);
    return;
  }
  std::vector<char> message(static_cast<size_t>(count * size));
  char* at = message.data();
  for (size_t i = 0; i < parts.size(); at += tensors[i++].nbytes())
    std::memcpy(at, parts[i].data(), tensors[i].nbytes());
  rank_order_sum(*session_, queue_->comm(), message.data(), count, dtype, queue_->scratch());
  at = message.data();
  for (size_t i = 0; i < parts.size(); at += tensors[i++].nbytes()) {
    std::memcpy(parts[i].data(), at, tensors[i].nbytes());
    parts[i].store();
  }
  recorder_->add("all_reduce", count * size, queued, start);
}

// What comes is a row a process, of the parts one after another; each result is a row a process of one part.
void MpiCommunicator::do_all_gather_together(const std::vector<Gathered>& gathered) {
  const Clock::time_point queued = Clock::now();
  queue_->drain();
  const Clock::time_point start = Clock::now();
  std::vector<char> mine;
  for (const auto& [part, all] : gathered) {
    HostBytes bytes(part, true);
    const char* data = static_cast<const char*>(bytes.data());
    mine.insert(mine.end(), data, data + part.nbytes());
  }
  if (mine.size() > static_cast<size_t>(std::numeric_limits<int>::max()))
    throw CommunicationError(fmt::format("all_gather: {} bytes are more than MPI takes at once", mine.size()));
  const int count = static_cast<int>(mine.size());
  std::vector<char> rows(mine.size() * static_cast<size_t>(size()));
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallgather(mine.data(), count, MPI_BYTE, rows.data(), count, MPI_BYTE, queue_->comm(), &request),
            "MPI_Iallgather");
  session_->wait(request, "all_gather");
  size_t offset = 0;
  for (const auto& [part, all] : gathered) {
    HostBytes everybody(all, false);
    for (size_t r = 0; r < static_cast<size_t>(size()); ++r)
      std::memcpy(static_cast<char*>(everybody.data()) + r * part.nbytes(), rows.data() + r * mine.size() + offset,
                  part.nbytes());
    everybody.store();
    offset += part.nbytes();
  }
  recorder_->add("all_gather", count, queued, start);
}

void MpiCommunicator::barrier() {
  const Clock::time_point queued = Clock::now();
  queue_->drain();
  const Clock::time_point start = Clock::now();
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibarrier(queue_->comm(), &request), "MPI_Ibarrier");
  session_->wait(request, "barrier");
  recorder_->add("barrier", 0, queued, start);
}

}  // namespace segrt
