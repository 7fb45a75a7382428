#include "core/nccl/nccl_communicator.h"

#include <fmt/format.h>

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

CudaEvent new_event() {
  cudaEvent_t raw = nullptr;
  check(cudaEventCreateWithFlags(&raw, cudaEventDisableTiming), "cudaEventCreateWithFlags");
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

template <typename Start>
Communication NcclCommunicator::ordered(const Start& start, std::vector<Tensor> kept) {
  const CudaEvent before = new_event();
  auto after = std::make_shared<CudaEvent>(new_event());
  check(cudaEventRecord(before.get(), gpu_.stream()), "cudaEventRecord");
  check(cudaStreamWaitEvent(stream_.get(), before.get(), 0), "cudaStreamWaitEvent");
  start(stream_.get());
  check(cudaEventRecord(after->get(), stream_.get()), "cudaEventRecord");
  return Communication([this, after, kept = std::move(kept)] {
    check(cudaStreamWaitEvent(gpu_.stream(), after->get(), 0), "cudaStreamWaitEvent");
  });
}

Communication NcclCommunicator::start_all_reduce(const Tensor& t) {
  if (t.device().is_cpu()) return hosts_->all_reduce_async(t);
  return ordered(
      [&](cudaStream_t stream) {
        check_nccl(
            ncclAllReduce(t.raw(), t.raw(), static_cast<size_t>(t.numel()), nccl_type(t), ncclSum, comm_, stream),
            "ncclAllReduce", comm_);
      },
      {t});
}

void NcclCommunicator::do_broadcast(const Tensor& t, int root) {
  if (t.device().is_cpu()) return hosts_->broadcast(t, root);
  ordered(
      [&](cudaStream_t stream) {
        check_nccl(ncclBroadcast(t.raw(), t.raw(), t.nbytes(), ncclUint8, root, comm_, stream), "ncclBroadcast", comm_);
      },
      {t})
      .wait();
}

void NcclCommunicator::do_all_gather(const Tensor& part, const Tensor& all) {
  if (part.device().is_cpu()) return hosts_->all_gather(part, all);
  ordered(
      [&](cudaStream_t stream) {
        check_nccl(ncclAllGather(part.raw(), all.raw(), part.nbytes(), ncclUint8, comm_, stream), "ncclAllGather",
                   comm_);
      },
      {part, all})
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
