#include "core/communicator.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <string_view>

#if SEGRT_HAS_MPI
#include "core/mpi/mpi_communicator.h"
#if SEGRT_HAS_NCCL
#include "core/nccl/nccl_communicator.h"
#endif
#endif

namespace segrt {
namespace {
std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown host";
}

class Alone final : public Communicator {
 public:
  Alone() : Communicator(0, 1, host_name()) {}
  void barrier() override {}
  std::unique_ptr<Communicator> duplicate() override { return std::make_unique<Alone>(); }

 private:
  Communication start_all_reduce(const Tensor&, std::string_view) override { return {}; }
  void do_broadcast(const Tensor&, int) override {}
  void do_all_gather(const Tensor& part, const Tensor& all) override {
    Tensor row = all.reshape(part.shape());
    row.copy_from(part);
  }
  void do_all_reduce_together(const std::vector<Tensor>&) override {}
  void do_all_gather_together(const std::vector<Gathered>& gathered) override {
    for (const Gathered& g : gathered) do_all_gather(g.part, g.all);
  }
};

int environment_integer(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return 0;
  const std::string_view view = text;
  int value = 0;
  const auto [end, status] = std::from_chars(view.data(), view.data() + view.size(), value);
  return status == std::errc{} && end == view.data() + view.size() ? value : 0;
}
}  // namespace

std::unique_ptr<Communicator> Communicator::alone() { return std::make_unique<Alone>(); }

int Communicator::launched() {
  // Slurm sets SLURM_NTASKS for a batch script as well; a task that srun has started knows its step as well.
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_SIZE"})
    if (const int size = environment_integer(name); size > 0) return size;
  if (std::getenv("SLURM_STEP_ID") != nullptr)
    if (const int size = environment_integer("SLURM_STEP_NUM_TASKS"); size > 0) return size;
  return 1;
}

int Communicator::local_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"})
    if (std::getenv(name) != nullptr) return environment_integer(name);
  return 0;
}

std::unique_ptr<Communicator> Communicator::open(Device& device, const Options& options) {
  const int processes = launched();
  if (processes <= 1) return alone();
#if SEGRT_HAS_MPI
  auto between_hosts = std::make_unique<MpiCommunicator>(MpiSession::open(options.timeout_s));
  if (between_hosts->size() == 1 && processes > 1)
    throw DeviceError(fmt::format(
        "{} processes were started, and MPI connects this one to no other: it was built with another MPI than the one "
        "that started it",
        processes));
#if SEGRT_HAS_NCCL
  if (device.is_cuda()) return std::make_unique<NcclCommunicator>(device, std::move(between_hosts));
#else
  static_cast<void>(device);
#endif
  return between_hosts;
#else
  static_cast<void>(device), static_cast<void>(options);
  throw DeviceError(
      fmt::format("{} processes were started, and this build has no MPI (configure with SEGRT_MPI=ON)", processes));
#endif
}

void Communicator::abort_all([[maybe_unused]] int exit_code) {
#if SEGRT_HAS_MPI
  MpiSession::abort_if_running(exit_code);
#endif
}

namespace {
void require_summable(const Tensor& t) {
  const DType d = t.dtype();
  if (d != DType::f32 && d != DType::f64 && d != DType::i64 && d != DType::bf16 && d != DType::f16)
    throw ArgumentError(fmt::format("all_reduce: t: expected f32, f64, i64, bf16 or f16, got {}", describe(t)));
}
}  // namespace

void Communicator::all_reduce(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> sent;
  for (const Tensor& t : tensors) {
    require_summable(t);
    if (t.dtype() != tensors[0].dtype() || &t.device() != &tensors[0].device())
      throw ArgumentError(fmt::format("all_reduce: tensors: expected one type and device, got {} and {}",
                                      describe(tensors[0]), describe(t)));
    if (size_ == 1 || t.numel() == 0 || t.device().is_meta()) continue;
    t.bump_version();
    sent.push_back(t);
  }
  if (!sent.empty()) do_all_reduce_together(sent);
}

Communication Communicator::all_reduce_async(const Tensor& t, std::string_view name) {
  require_summable(t);
  if (size_ == 1 || t.numel() == 0 || t.device().is_meta()) return {};
  t.bump_version();
  return start_all_reduce(t, name);
}

void Communicator::broadcast(const Tensor& t, int root) {
  if (root < 0 || root >= size_)
    throw ArgumentError(fmt::format("broadcast: root: expected 0..{}, got {}", size_ - 1, root));
  if (size_ == 1 || t.numel() == 0 || t.device().is_meta()) return;
  if (rank_ != root) t.bump_version();
  do_broadcast(t, root);
}

void Communicator::all_gather(const Tensor& part, const Tensor& all) { all_gather(std::vector<Gathered>{{part, all}}); }

void Communicator::all_gather(const std::vector<Gathered>& gathered) {
  std::vector<Gathered> sent;
  for (const auto& [part, all] : gathered) {
    if (all.numel() != part.numel() * size_ || all.dtype() != part.dtype() || &all.device() != &part.device())
      throw ArgumentError(
          fmt::format("all_gather: all: expected {} times part, {}, got {}", size_, describe(part), describe(all)));
    if (&part.device() != &gathered[0].part.device())
      throw ArgumentError(fmt::format("all_gather: parts: expected one device, got {} and {}",
                                      describe(gathered[0].part), describe(part)));
    if (part.numel() == 0 || part.device().is_meta()) continue;
    all.bump_version();
    sent.push_back({part, all});
  }
  if (sent.size() == 1)
    do_all_gather(sent[0].part, sent[0].all);
  else if (!sent.empty())
    do_all_gather_together(sent);
}

std::vector<int64_t> Communicator::all_gather(int64_t value) {
  if (size_ == 1) return {value};
  if (!cpu_) cpu_ = Device::create("cpu");
  const Tensor part = Tensor::from<int64_t>({1}, std::vector<int64_t>{value}, *cpu_);
  const Tensor all = Tensor::empty({size_}, DType::i64, *cpu_);
  all_gather(part, all);
  return all.to_vector<int64_t>();
}

}  // namespace segrt
