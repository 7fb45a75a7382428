#include "core/nccl/nccl_communicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>

#include "core/cuda/check.h"

namespace segrt {
namespace {
constexpr std::chrono::milliseconds kWatchPeriod{100};

void check_nccl(ncclResult_t status, const char* call, ncclComm_t comm) {
  if (status == ncclSuccess) return;
  throw CommunicationError(fmt::format("{}: {} ({})", call, ncclGetErrorString(status), ncclGetLastError(comm)));
}

ncclDataType_t nccl_type(const Tensor& t) {
  switch (t.dtype()) {
    case DType::f32: return ncclFloat32;
    case DType::f64: return ncclFloat64;
    case DType::bf16: return ncclBfloat16;
    case DType::f16: return ncclFloat16;
    case DType::i64: return ncclInt64;
    default: throw ArgumentError("all_reduce: no sum of " + describe(t));
  }
}

CudaEvent new_event(unsigned flags = cudaEventDisableTiming) {
  cudaEvent_t raw = nullptr;
  check(cudaEventCreateWithFlags(&raw, flags), "cudaEventCreateWithFlags");
  return CudaEvent(raw);
}
}  // namespace

NcclCommunicator::NcclCommunicator(Device& device, std::unique_ptr<Communicator> hosts)
    : Communicator(hosts->rank(), hosts->size(), hosts->host()), gpu_(cuda_device(device)), hosts_(std::move(hosts)) {
  const std::unique_ptr<Device> cpu = Device::create("cpu");
  ncclUniqueId id{};
  if (rank() == 0) check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId", nullptr);
  const Tensor bytes = Tensor::empty({static_cast<int64_t>(sizeof id)}, DType::u8, *cpu);
  std::memcpy(bytes.raw(), &id, sizeof id);
  hosts_->broadcast(bytes, 0);
  std::memcpy(&id, bytes.raw(), sizeof id);
  cudaStream_t raw = nullptr;
  check(cudaStreamCreateWithFlags(&raw, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  stream_ = CudaStream(raw);
  check_nccl(ncclCommInitRank(&comm_, size(), id, rank()), "ncclCommInitRank", nullptr);
  watch_ = std::thread([this] { watch(); });
}

NcclCommunicator::~NcclCommunicator() {
  stop_ = true;
  watch_.join();
  // When an exception ends the process the others may never come to the end of what is under way.
  std::uncaught_exceptions() > 0 ? ncclCommAbort(comm_) : ncclCommDestroy(comm_);
}

std::unique_ptr<Communicator> NcclCommunicator::duplicate() {
  return std::make_unique<NcclCommunicator>(gpu_, hosts_->duplicate());
}

void NcclCommunicator::barrier() {
  gpu_.synchronize();
  hosts_->barrier();
}

// On the stream of the operations, from which the work of the device is not far: a profile begins when that is idle.
void NcclCommunicator::start_recording() {
  hosts_->start_recording();
  recorded_.clear();
  recording_since_ = new_event(cudaEventDefault);
  check(cudaEventRecord(recording_since_.get(), stream_.get()), "cudaEventRecord");
}

std::vector<CommunicationSpan> NcclCommunicator::stop_recording() {
  std::vector<CommunicationSpan> spans = hosts_->stop_recording();
  for (Recorded& r : recorded_) {
    check(cudaEventSynchronize(r.end.get()), "cudaEventSynchronize");
    float start_ms = 0, end_ms = 0;
    check(cudaEventElapsedTime(&start_ms, recording_since_.get(), r.start.get()), "cudaEventElapsedTime");
    check(cudaEventElapsedTime(&end_ms, recording_since_.get(), r.end.get()), "cudaEventElapsedTime");
    r.span.queued_ms = r.span.start_ms = start_ms;
    r.span.end_ms = end_ms;
    spans.push_back(std::move(r.span));
  }
  std::stable_sort(spans.begin(), spans.end(), [](const auto& a, const auto& b) { return a.end_ms < b.end_ms; });
  recorded_.clear();
  recording_since_ = CudaEvent();
  return spans;
}

template <typename Start>
Communication NcclCommunicator::ordered(std::string_view name, size_t bytes, const Start& start,
                                        std::vector<Tensor> kept) {
  const CudaEvent before = new_event();
  auto after = std::make_shared<CudaEvent>(new_event());
  check(cudaEventRecord(before.get(), gpu_.stream()), "cudaEventRecord");
  check(cudaStreamWaitEvent(stream_.get(), before.get(), 0), "cudaStreamWaitEvent");
  Recorded* recorded = nullptr;
  if (recording_since_.get() != nullptr) {
    CudaEvent begin = new_event(cudaEventDefault), end = new_event(cudaEventDefault);
    recorded = &recorded_.emplace_back();
    recorded->span.name = name;
    recorded->span.bytes = static_cast<int64_t>(bytes);
    recorded->start = std::move(begin);
    recorded->end = std::move(end);
    check(cudaEventRecord(recorded->start.get(), stream_.get()), "cudaEventRecord");
  }
  start(stream_.get());
  if (recorded != nullptr) check(cudaEventRecord(recorded->end.get(), stream_.get()), "cudaEventRecord");
  check(cudaEventRecord(after->get(), stream_.get()), "cudaEventRecord");
  return Communication([this, after, kept = std::move(kept)] {
    check(cudaStreamWaitEvent(gpu_.stream(), after->get(), 0), "cudaStreamWaitEvent");
  });
}

Communication NcclCommunicator::start_all_reduce(const Tensor& t, std::string_view name) {
  if (t.device().is_cpu()) return hosts_->all_reduce_async(t, name);
  return ordered(name, t.nbytes(),
                 [&](cudaStream_t stream) {
                   check_nccl(ncclAllReduce(t.raw(), t.raw(), static_cast<size_t>(t.numel()), nccl_type(t), ncclSum,
                                            comm_, stream),
                              "ncclAllReduce", comm_);
                 },
                 {t});
}

void NcclCommunicator::do_broadcast(const Tensor& t, int root) {
  if (t.device().is_cpu()) return hosts_->broadcast(t, root);
  ordered("broadcast", t.nbytes(),
          [&](cudaStream_t stream) {
            check_nccl(ncclBroadcast(t.raw(), t.raw(), t.nbytes(), ncclUint8, root, comm_, stream), "ncclBroadcast",
                       comm_);
          },
          {t})
      .wait();
}

void NcclCommunicator::do_all_gather(const Tensor& part, const Tensor& all) {
  if (part.device().is_cpu()) return hosts_->all_gather(part, all);
  ordered("all_gather", part.nbytes(),
          [&](cudaStream_t stream) {
            check_nccl(ncclAllGather(part.raw(), all.raw(), part.nbytes(), ncclUint8, comm_, stream), "ncclAllGather",
                       comm_);
          },
          {part, all})
      .wait();
}

void NcclCommunicator::do_all_reduce_together(const std::vector<Tensor>& tensors) {
  if (tensors[0].device().is_cpu()) return hosts_->all_reduce(tensors);
  size_t bytes = 0;
  for (const Tensor& t : tensors) bytes += t.nbytes();
  ordered(
      "all_reduce", bytes,
      [&](cudaStream_t stream) {
        check_nccl(ncclGroupStart(), "ncclGroupStart", comm_);
        for (const Tensor& t : tensors)
          check_nccl(
              ncclAllReduce(t.raw(), t.raw(), static_cast<size_t>(t.numel()), nccl_type(t), ncclSum, comm_, stream),
              "ncclAllReduce", comm_);
        check_nccl(ncclGroupEnd(), "ncclGroupEnd", comm_);
      },
      tensors)
      .wait();
}

void NcclCommunicator::do_all_gather_together(const std::vector<Gathered>& gathered) {
  if (gathered[0].part.device().is_cpu()) return hosts_->all_gather(gathered);
  size_t bytes = 0;
  std::vector<Tensor> kept;
  for (const auto& [part, all] : gathered) {
    bytes += part.nbytes();
    kept.insert(kept.end(), {part, all});
  }
  ordered(
      "all_gather", bytes,
      [&](cudaStream_t stream) {
        check_nccl(ncclGroupStart(), "ncclGroupStart", comm_);
        for (const auto& [part, all] : gathered)
          check_nccl(ncclAllGather(part.raw(), all.raw(), part.nbytes(), ncclUint8, comm_, stream), "ncclAllGather",
                     comm_);
        check_nccl(ncclGroupEnd(), "ncclGroupEnd", comm_);
      },
      std::move(kept))
      .wait();
}

// A failed connection leaves the GPU waiting in a kernel and the host in a synchronisation that never returns: the
// processes are ended from here.
void NcclCommunicator::watch() {
  while (!stop_) {
    std::this_thread::sleep_for(kWatchPeriod);
    ncclResult_t state = ncclSuccess;
    if (ncclCommGetAsyncError(comm_, &state) == ncclSuccess && (state == ncclSuccess || state == ncclInProgress))
      continue;
    fmt::print(stderr, "error: rank {} ({}): NCCL: {} ({}); all processes are ended\n", rank(), host(),
               ncclGetErrorString(state), ncclGetLastError(comm_));
    std::fflush(stderr);
    ncclCommAbort(comm_);
    abort_all(1);
    return;
  }
}

}  // namespace segrt
