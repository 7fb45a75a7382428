// A Device owns memory, streams, library handles and caches. Tensors point to their device, which must outlive them.
// There is no current device: whoever needs one receives it, or reaches it through a tensor.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <typeindex>
#include <unordered_map>
#include <utility>

#include "core/shape.h"

namespace segrt {

// cpu: host memory. cuda: a GPU (or the emulator that stands for one). meta: shapes only, no memory and no arithmetic;
// kernels check their arguments there and return, so that a dry run costs nothing.
enum class DeviceKind : uint8_t { cpu, cuda, meta };

struct MemoryStats {
  int64_t current_bytes = 0;   // held by live tensors
  int64_t peak_bytes = 0;      // largest current_bytes since the last reset_peak()
  int64_t reserved_bytes = 0;  // taken from the system: live plus cached for reuse
};

class Tensor;
struct OpEvent;  // core/op_event.h

// One executed layer, reported to Device::observer (summaries, profiles, the search for a non-finite value).
struct LayerEvent {
  std::string_view kind;  // "conv2d"
  const Tensor& output;
  int64_t parameters = 0;
  int64_t multiply_adds = 0;
};

// Device::op_observer. Operators that the function runs itself, a copy of what it is shown, are not reported to it.
class OpObserver {
 public:
  OpObserver& operator=(std::function<void(const OpEvent&)> f) {
    f_ = std::move(f);
    return *this;
  }
  explicit operator bool() const { return static_cast<bool>(f_); }
  void operator()(const OpEvent& event) const;

 private:
  std::function<void(const OpEvent&)> f_;
  mutable bool running_ = false;
};

class Device {
 public:
  // spec: "cpu", "cuda", "cuda:1" or "meta". Throws DeviceError when there is no such device or the build has no CUDA.
  static std::unique_ptr<Device> create(std::string_view spec);
  // Whether create("cuda") can work here: built with CUDA (or the emulator) and a GPU present.
  static bool cuda_available() { return cuda_count() > 0; }
  static int cuda_count();  // GPUs that this process sees

  virtual ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  DeviceKind kind() const { return kind_; }
  bool is_cpu() const { return kind_ == DeviceKind::cpu; }
  bool is_cuda() const { return kind_ == DeviceKind::cuda; }
  bool is_meta() const { return kind_ == DeviceKind::meta; }
  const std::string& name() const { return name_; }                // "cpu", "cuda:0"
  const std::string& description() const { return description_; }  // "cuda:0 (NVIDIA H100 80GB HBM3)"

  // At least nbytes, aligned to 64 (CPU) or 256 (CUDA); contents undefined. deallocate takes the same nbytes.
  // Work already queued on the compute stream may still use a block after deallocate: reuse is in stream order.
  virtual void* allocate(size_t nbytes) = 0;
  virtual void deallocate(void* pointer, size_t nbytes) noexcept = 0;
  // Copies between this device and host memory, or within this device. to_host returns when the data is there;
  // from_host when the source may be reused.
  virtual void copy_from_host(void* destination, const void* source, size_t nbytes) = 0;
  virtual void copy_to_host(void* destination, const void* source, size_t nbytes) = 0;
  virtual void copy_within(void* destination, const void* source, size_t nbytes) = 0;
  // Host memory that copies to and from this device go fastest with: page-locked for CUDA, ordinary otherwise.
  virtual void* allocate_host(size_t nbytes) = 0;
  virtual void deallocate_host(void* pointer, size_t nbytes) noexcept = 0;
  virtual void fill_bytes(void* destination, int value, size_t nbytes) = 0;
  virtual void synchronize() = 0;  // waits for all queued work; throws the error of any that failed
  virtual MemoryStats memory() const = 0;
  virtual void reset_peak() = 0;
  virtual void release_cached() = 0;  // gives cached free blocks back to the system

  // Runs `body` if *flag, an i32 in this device's memory, is not zero. Here the host waits for the flag and branches;
  // on a meta device the body always runs. A CUDA device whose work is being captured into a graph runs the body once
  // to capture it, and the GPU branches at every replay.
  virtual void run_if(const int32_t* flag, const std::function<void()>& body);
  // Makes run_if run every body, whatever the flags: before a capture, so that no body fills its caches during one.
  // What a body computes that should not have run is worth nothing.
  void set_runs_every_body(bool on) { runs_every_body_ = on; }

  // An object of type T kept with this device, made on first use: primitive caches, library handles, workspaces.
  // T is constructible from Device& or by default. Not for use from several threads at once.
  template <typename T>
  T& state() {
    std::shared_ptr<void>& slot = states_[std::type_index(typeid(T))];
    if (!slot) {
      if constexpr (std::is_constructible_v<T, Device&>)
        slot = std::make_shared<T>(*this);
      else
        slot = std::make_shared<T>();
    }
    return *static_cast<T*>(slot.get());
  }

  // A new identity for a storage. Never reused, so a cache keyed by one cannot mistake a new tensor for an old one.
  uint64_t next_storage_id() { return next_storage_id_.fetch_add(1, std::memory_order_relaxed); }

  // Whether operators record their backward pass (see autograd/tape.h: NoGrad).
  bool grad_enabled() const { return grad_enabled_; }
  void set_grad_enabled(bool on) { grad_enabled_ = on; }

  // Same bits in every run: forbids float atomics and algorithms whose order of summation varies.
  bool deterministic() const { return deterministic_; }
  void set_deterministic(bool on) { deterministic_ = on; }
  // Whether gradients of f32 weights are f64 sums of their samples' parts (autograd/sample_sums.h).
  bool sums_by_sample() const { return sums_by_sample_; }
  void set_sums_by_sample(bool on) { sums_by_sample_ = on; }

  // Called by nn layers after each forward when set.
  std::function<void(const LayerEvent&)> observer;
  // Called by the operators of forward passes when set, with what they read, wrote and were told. Whoever sets it sees
  // every operator that may run: nothing is skipped because of the values at hand, as under set_runs_every_body.
  OpObserver op_observer;

 protected:
  Device(DeviceKind kind, std::string name, std::string description);
  void clear_states() noexcept { states_.clear(); }  // for destructors: states may own device resources

 private:
  DeviceKind kind_;
  std::string name_, description_;
  std::atomic<uint64_t> next_storage_id_{1};
  bool grad_enabled_ = true;
  bool deterministic_ = false;
  bool sums_by_sample_ = false;
  bool runs_every_body_ = false;
  std::unordered_map<std::type_index, std::shared_ptr<void>> states_;
};

}  // namespace segrt
