#include "core/device.h"

#include <charconv>

#include "core/error.h"
#include "core/host_devices.h"
#if SEGRT_HAS_CUDA
#include "core/cuda/cuda_device.h"
#endif

namespace segrt {

void OpObserver::operator()(const OpEvent& event) const {
  if (running_) return;
  struct Running {
    bool& on;
    explicit Running(bool& flag) : on(flag) { on = true; }
    ~Running() { on = false; }
  };
  const Running running(running_);
  f_(event);
}

Device::Device(DeviceKind kind, std::string name, std::string description)
    : kind_(kind), name_(std::move(name)), description_(std::move(description)) {}
Device::~Device() = default;

void Device::run_if(const int32_t* flag, const std::function<void()>& body) {
  int32_t value = 1;
  if (!is_meta() && !runs_every_body_ && !op_observer) copy_to_host(&value, flag, sizeof(value));
  if (value != 0) body();
}

int Device::cuda_count() {
#if SEGRT_HAS_CUDA
  return cuda_device_count();
#else
  return 0;
#endif
}

std::unique_ptr<Device> Device::create(std::string_view spec) {
  if (spec == "cpu") return std::make_unique<CpuDevice>();
  if (spec == "meta") return std::make_unique<MetaDevice>();
  if (spec == "cuda" || spec.starts_with("cuda:")) {
    int index = 0;
    if (spec != "cuda") {
      const std::string_view digits = spec.substr(5);
      const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
      if (status != std::errc{} || end != digits.data() + digits.size() || index < 0)
        throw DeviceError("device: expected cpu, cuda, cuda:<index> or meta, got \"" + std::string(spec) + "\"");
    }
#if SEGRT_HAS_CUDA
    return make_cuda_device(index);
#else
    throw DeviceError("device: \"" + std::string(spec) +
                      "\" wanted, but this build has no CUDA (configure with SEGRT_CUDA=ON)");
#endif
  }
  throw DeviceError("device: expected cpu, cuda, cuda:<index> or meta, got \"" + std::string(spec) + "\"");
}

}  // namespace segrt
