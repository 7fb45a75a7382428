#include "kernels/vendor/cudnn/engine.h"

#include <fmt/format.h>

#include <algorithm>

namespace segrt::kernels::vendor::cudnn {
namespace {
constexpr int64_t kMaxNotes = 16;

Engine read_engine(Descriptor config) {
  Engine engine;
  const Descriptor descriptor = config.get_descriptor(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  engine.index = descriptor.get<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
  engine.numerics = descriptor.get_list<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, kMaxNotes);
  engine.behavior = descriptor.get_list<cudnnBackendBehaviorNote_t>(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, kMaxNotes);
  for (const Descriptor& choice : config.get_descriptors(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                                         CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, CUDNN_KNOB_TYPE_COUNTS))
    engine.knobs.push_back({choice.get<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE),
                            choice.get<int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE)});
  engine.config = std::make_shared<const Descriptor>(std::move(config));
  return engine;
}
}  // namespace

bool Engine::has(cudnnBackendNumericalNote_t note) const {
  return std::find(numerics.begin(), numerics.end(), note) != numerics.end();
}

bool Engine::has(cudnnBackendBehaviorNote_t note) const {
  return std::find(behavior.begin(), behavior.end(), note) != behavior.end();
}

std::string describe(const Engine& engine) {
  std::string text = fmt::format("engine {}", engine.index);
  for (const Knob& knob : engine.knobs) text += fmt::format(", {} {}", name_of(knob.type), knob.value);
  return text + (engine.runtime_compiled() ? ", compiled at run time" : "");
}

std::vector<Engine> find_engines(const OperationGraph& graph, const Target& target, Heuristics mode, int64_t limit) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.descriptor())
      .set(CUDNN_ATTR_ENGINEHEUR_MODE, mode == Heuristics::mode_a ? CUDNN_HEUR_MODE_A : CUDNN_HEUR_MODE_FALLBACK);
  if (target.properties != nullptr) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, target.properties->descriptor());
  std::vector<Engine> engines;
  try {
    heuristics.finalize();
    for (Descriptor& config :
         heuristics.get_descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, limit))
      engines.push_back(read_engine(std::move(config)));
  } catch (const CudnnError& e) {
    if (!e.not_supported()) throw;
  }
  return engines;
}

bool keeps_promises(const Engine& engine, const ConvProblem& problem) {
  if (problem.deterministic && !engine.deterministic()) return false;
  // Sums in 16 bits; transforms that lose digits beyond those of the type.
  for (const auto note : {CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION, CUDNN_NUMERICAL_NOTE_FFT,
                          CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13})
    if (engine.has(note)) return false;
  // Tensor cores round float32 operands to TF32.
  const bool exact = problem.dtype == DType::f32 && !problem.tf32;
  return !exact ||
         !(engine.has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE) || engine.has(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS));
}

}  // namespace segrt::kernels::vendor::cudnn
