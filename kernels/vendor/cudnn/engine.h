// The engines that cuDNN's heuristics offer for a graph, best first by its estimate, and what they promise.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/vendor/cudnn/conv_graph.h"
#include "kernels/vendor/cudnn/device_properties.h"

namespace segrt::kernels::vendor::cudnn {

struct Knob {
  cudnnBackendKnobType_t type;
  int64_t value;
};

// An engine with its settings (cuDNN: engine configuration).
struct Engine {
  std::shared_ptr<const Descriptor> config;
  int64_t index = 0;  // of the engine among those of the graph
  std::vector<Knob> knobs;
  std::vector<cudnnBackendNumericalNote_t> numerics;
  std::vector<cudnnBackendBehaviorNote_t> behavior;

  bool has(cudnnBackendNumericalNote_t note) const;
  bool has(cudnnBackendBehaviorNote_t note) const;
  bool deterministic() const { return !has(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC); }
  bool runtime_compiled() const { return has(CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION); }
};

// "engine 58, TILE_SIZE 17, SPLIT_K_SLC 1, compiled at run time"
std::string describe(const Engine& engine);

enum class Heuristics : uint8_t { mode_a, fallback };

// Engines for the graph on the target, at most `limit`. Empty where cuDNN has none: that is no error.
std::vector<Engine> find_engines(const OperationGraph& graph, const Target& target, Heuristics mode, int64_t limit);

// Whether the engine's arithmetic is what kernels/conv.h promises for the problem: float32 sums, float32 operands
// unrounded unless tf32 is allowed, the same bits in every run where the device is deterministic.
bool keeps_promises(const Engine& engine, const ConvProblem& problem);

}  // namespace segrt::kernels::vendor::cudnn
