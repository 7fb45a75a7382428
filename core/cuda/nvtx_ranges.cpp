#include "core/cuda/nvtx_ranges.h"

#include <cstdlib>
#include <string_view>

#include "core/error.h"
#if __has_include(<nvtx3/nvToolsExt.h>)  // with the toolkit; the emulator has none
#include <nvtx3/nvToolsExt.h>
#define SEGRT_HAS_NVTX 1
#else
#define SEGRT_HAS_NVTX 0
#endif

namespace segrt {
#if SEGRT_HAS_NVTX
namespace {
class NvtxRanges final : public ScopeListener {
 public:
  explicit NvtxRanges(Device& device) : device_(device) { device.state<ScopeStack>().add(*this); }
  ~NvtxRanges() override { device_.state<ScopeStack>().remove(*this); }
  NvtxRanges(const NvtxRanges&) = delete;
  NvtxRanges& operator=(const NvtxRanges&) = delete;

  void enter(const Scope& scope) override {
    std::string text(scope.name());
    if (scope.backward() && scope.kind() == Scope::Kind::function) text += " (backward)";
    if (const Tensor* y = scope.output()) text += " " + to_string(y->shape());
    nvtxRangePushA(text.c_str());
  }
  void leave(const Scope&) noexcept override { nvtxRangePop(); }
  bool needs_every_op() const override { return false; }  // a replayed graph shows its kernels all the same

 private:
  Device& device_;
};
}  // namespace
#endif

std::unique_ptr<ScopeListener> make_nvtx_ranges(Device& device) {
  const char* wanted = std::getenv("SEGRT_NVTX");
  const std::string_view text = wanted != nullptr ? wanted : "";
  const bool attached = std::getenv("NVTX_INJECTION64_PATH") != nullptr;
#if SEGRT_HAS_NVTX
  if (text == "1" || (attached && text != "0")) return std::make_unique<NvtxRanges>(device);
#else
  static_cast<void>(attached);
  if (text == "1") throw DeviceError(device.name() + ": SEGRT_NVTX=1: this build has no NVTX");
#endif
  return nullptr;
}

}  // namespace segrt
