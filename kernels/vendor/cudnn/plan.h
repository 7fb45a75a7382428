// An engine made ready for one graph on one GPU: compiled where it must be, and executable.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/vendor/cudnn/engine.h"

namespace segrt::kernels::vendor::cudnn {

class Plan {
 public:
  // Throws CudnnError; not_supported() where the engine turns the problem down after all.
  static Plan build(const Engine& engine, const Target& target);
  // From json() of an equal GPU and cuDNN version. Throws CudnnError on anything else.
  static Plan from_json(const std::string& json, const Target& target);

  size_t workspace_bytes() const { return workspace_bytes_; }
  // All of it; by NVIDIA's documentation with the machine code of run-time compiled engines.
  std::string json() const;

  struct Binding {
    Role role;
    void* data;
  };
  // Queues the work on the handle's stream. One binding for each of the graph's roles, aligned to 16 bytes;
  // `workspace` holds workspace_bytes().
  void execute(cudnnHandle_t handle, const std::vector<Binding>& bindings, void* workspace) const;

 private:
  Plan(Descriptor descriptor, std::shared_ptr<const Descriptor> config);
  std::shared_ptr<const Descriptor> config_;  // that the plan was made of; null for one from JSON
  Descriptor descriptor_;
  size_t workspace_bytes_ = 0;
};

inline std::string text_of(const Plan& plan) { return plan.json(); }

// Whether building failed because the engine's code was compiled and there was no driver to load it into. Where there
// is no GPU, that is as far as a run-time compiled engine comes.
bool compiled_but_not_loaded(const CudnnError& error);

}  // namespace segrt::kernels::vendor::cudnn
