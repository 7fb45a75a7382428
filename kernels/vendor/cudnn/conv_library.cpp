#include "kernels/vendor/cudnn/conv_library.h"

#include "core/cuda/library_handles.h"

namespace segrt::kernels::vendor::cudnn {

ConvLibrary::ConvLibrary(Device& device) : device_(device), target_{.handle = device.state<CudnnHandle>().get()} {}

std::string ConvLibrary::tag() const { return "cudnn-" + std::to_string(cudnnGetVersion()); }

void ConvLibrary::run(const Plan& plan, const Bindings& bindings) const {
  // In the body of a captured condition the stream is another.
  require_success(cudnnSetStream(target_.handle, cuda_stream(device_)), "cudnnSetStream");
  Tensor workspace;
  if (plan.workspace_bytes() > 0)
    workspace = Tensor::empty({static_cast<int64_t>(plan.workspace_bytes())}, DType::u8, device_);
  plan.execute(target_.handle, bindings, workspace.defined() ? workspace.raw() : nullptr);
}

}  // namespace segrt::kernels::vendor::cudnn
