#include "core/mpi/mpi_communicator.h"

#include <condition_variable>
#include <deque>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>

#include "core/mpi/rank_order_sum.h"

namespace segrt {
namespace {
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
  std::thread thread_;
};

MpiCommunicator::MpiCommunicator(std::shared_ptr<MpiSession> session)
    : Communicator(session->rank(), session->size(), session->host()),
      session_(std::move(session)),
      queue_(std::make_shared<Queue>(session_)) {}

MpiCommunicator::~MpiCommunicator() { queue_->stop(); }

Communication MpiCommunicator::start_all_reduce(const Tensor& t) {
  auto bytes = std::make_shared<HostBytes>(t, true);
  const auto job = Queue::push(queue_, [queue = queue_.get(), bytes, count = t.numel(), dtype = t.dtype()] {
    rank_order_sum(queue->session(), queue->comm(), bytes->data(), count, dtype);
  });
  return Communication([queue = queue_, job, bytes] {
    queue->wait(*job);
    bytes->store();
  });
}

void MpiCommunicator::do_broadcast(const Tensor& t, int root) {
  queue_->drain();
  HostBytes bytes(t, rank() == root);
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibcast(bytes.data(), bytes.bytes(), MPI_BYTE, root, queue_->comm(), &request), "MPI_Ibcast");
  session_->wait(request, "broadcast");
  if (rank() != root) bytes.store();
}

void MpiCommunicator::do_all_gather(const Tensor& part, const Tensor& all) {
  queue_->drain();
  HostBytes mine(part, true), everybody(all, false);
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallgather(mine.data(), mine.bytes(), MPI_BYTE, everybody.data(), mine.bytes(), MPI_BYTE,
                           queue_->comm(), &request),
            "MPI_Iallgather");
  session_->wait(request, "all_gather");
  everybody.store();
}

void MpiCommunicator::barrier() {
  queue_->drain();
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibarrier(queue_->comm(), &request), "MPI_Ibarrier");
  session_->wait(request, "barrier");
}

}  // namespace segrt
