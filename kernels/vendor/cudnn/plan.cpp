#include "kernels/vendor/cudnn/plan.h"

namespace segrt::kernels::vendor::cudnn {
namespace {
Descriptor new_plan(const Target& target) {
  Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  if (target.properties != nullptr)
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, target.properties->descriptor());
  else
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, target.handle);
  return plan;
}
}  // namespace

Plan::Plan(Descriptor descriptor, std::shared_ptr<const Descriptor> config)
    : config_(std::move(config)),
      descriptor_(std::move(descriptor)),
      workspace_bytes_(static_cast<size_t>(descriptor_.get<int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE))) {}

Plan Plan::build(const Engine& engine, const Target& target) {
  Descriptor plan = new_plan(target);
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, *engine.config).finalize();
  return Plan(std::move(plan), engine.config);
}

Plan Plan::from_json(const std::string& json, const Target& target) {
  Descriptor plan = new_plan(target);
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, json).finalize();
  return Plan(std::move(plan), nullptr);
}

bool compiled_but_not_loaded(const CudnnError& error) {
  return error.status() == CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER;  // from cuLibraryLoadData
}

std::string Plan::json() const { return descriptor_.get_text(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION); }

void Plan::execute(cudnnHandle_t handle, const std::vector<Binding>& bindings, void* workspace) const {
  std::vector<int64_t> ids;
  std::vector<void*> pointers;
  for (const Binding& binding : bindings) {
    ids.push_back(static_cast<int64_t>(binding.role));
    pointers.push_back(binding.data);
  }
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids)
      .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, pointers)
      .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace)
      .finalize();
  require_success(cudnnBackendExecute(handle, descriptor_.get(), pack.get()), "execute");
}

}  // namespace segrt::kernels::vendor::cudnn
