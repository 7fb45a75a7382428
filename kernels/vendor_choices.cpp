#include "kernels/vendor_choices.h"

#if SEGRT_HAS_CUDNN
#include "kernels/vendor/cudnn/conv_library.h"
#endif
#if SEGRT_HAS_CUBLASLT
#include "kernels/vendor/cublaslt/matmul_library.h"
#endif

namespace segrt::kernels {

std::vector<VendorChoice> vendor_choices(Device& device) {
  std::vector<VendorChoice> all;
  [[maybe_unused]] const auto append = [&](std::vector<VendorChoice> choices) {
    all.insert(all.end(), choices.begin(), choices.end());
  };
#if SEGRT_HAS_CUDNN
  if (device.is_cuda()) append(device.state<vendor::cudnn::ConvPlans>().choices());
#endif
#if SEGRT_HAS_CUBLASLT
  if (device.is_cuda()) append(device.state<vendor::cublaslt::MatmulPlans>().choices());
#endif
  static_cast<void>(device);
  return all;
}

}  // namespace segrt::kernels
