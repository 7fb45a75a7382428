// Scopes reach a profiler as NVTX ranges. The profiler is this file: NVTX asks a function pointer that programs may set
// before it looks for a library.
#if SEGRT_HAS_CUDA && __has_include(<nvtx3/nvToolsExt.h>)
#include <doctest/doctest.h>
#include <nvtx3/nvToolsExt.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "core/cuda/nvtx_ranges.h"

namespace {
std::vector<std::string>& ranges() {
  static std::vector<std::string> seen;
  return seen;
}
int push(const char* message) {
  ranges().emplace_back(message);
  return 0;
}
int pop() {
  ranges().emplace_back("pop");
  return 0;
}

int inject(NvtxGetExportTableFunc_t get_table) {
  const auto* callbacks = static_cast<const NvtxExportTableCallbacks*>(get_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned int size = 0;
  if (callbacks == nullptr || callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &table, &size) == 0) return 0;
  *table[NVTX_CBID_CORE_RangePushA] = reinterpret_cast<NvtxFunctionPointer>(push);
  *table[NVTX_CBID_CORE_RangePop] = reinterpret_cast<NvtxFunctionPointer>(pop);
  return 1;
}
}  // namespace

namespace segrt {

TEST_CASE("scopes are NVTX ranges: modules, functions, operators with their output") {
  const auto device = Device::create("cpu");  // ranges need no GPU
  const Tensor y = Tensor::empty({2, 3}, DType::f32, *device);
  const std::string path = "layer1.conv";
  const auto layer = [&] {
    {
      const PartScope part(path, "conv2d", *device);
      const FunctionScope function("conv2d", *device);
      const OpScope op("conv2d", y, [] { return OpWork{}; });
    }
    const FunctionScope function("conv2d", *device, path);
    const OpScope op("sum_to", y, [] { return OpWork{}; });
  };
  InitializeInjectionNvtx2_fnptr = inject;
  setenv("SEGRT_NVTX", "0", 1);
  CHECK(make_nvtx_ranges(*device) == nullptr);
  setenv("SEGRT_NVTX", "1", 1);
  {
    const auto listener = make_nvtx_ranges(*device);
    unsetenv("SEGRT_NVTX");
    REQUIRE(listener != nullptr);
    CHECK_FALSE(watched(*device));  // graphs are replayed all the same
    layer();
  }
  layer();  // nobody listens any more
  CHECK(ranges() == std::vector<std::string>{"layer1.conv", "conv2d", "conv2d [2,3]", "pop", "pop", "pop",
                                             "conv2d (backward)", "sum_to [2,3]", "pop", "pop"});
}

}  // namespace segrt
#endif
