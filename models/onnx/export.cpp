#include "models/onnx/export.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "models/onnx/translate.h"

namespace segrt::models {
namespace {
using nn::Upsampling;
using onnx_export::Graph;
using onnx_export::Translator;
using Output = OnnxOptions::Output;
constexpr int kOpset = 17;

// While it lives, operators on the device report to `see`.
class Observed {
 public:
  Observed(Device& device, std::function<void(const OpEvent&)> see) : device_(device) {
    device.op_observer = std::move(see);
  }
  ~Observed() { device_.op_observer = nullptr; }
  Observed(const Observed&) = delete;
  Observed& operator=(const Observed&) = delete;

 private:
  Device& device_;
};

// While it lives, the model is in evaluation mode.
class Evaluating {
 public:
  explicit Evaluating(Model& model) : model_(model), was_training_(model.training()) { model.set_training(false); }
  ~Evaluating() { model_.set_training(was_training_); }
  Evaluating(const Evaluating&) = delete;
  Evaluating& operator=(const Evaluating&) = delete;

 private:
  Model& model_;
  bool was_training_;
};

// What the file's output holds, from the first head.
Var result_of(Model& model, const Tensor& image, Output output) {
  Head head = model.forward(image).front();
  if (model.task() == Task::classification) return head.scores;
  // DRN's fixed kernel is one like any other to ONNX.
  if (head.up.rule == Upsampling::Rule::transposed_x8) head.up.rule = Upsampling::Rule::custom_transposed_x8;
  return output == Output::log_probabilities ? nn::log_probabilities(head.scores, head.up)
                                             : nn::upsampled_scores(head.scores, head.up);
}

void add_metadata(Graph& graph, const Model& model, const OnnxOptions& options) {
  graph.metadata("model", model.name());
  graph.metadata("classes", std::to_string(model.classes()));
  if (const auto p = model.preprocessing())
    graph.metadata(
        "preprocessing",
        nlohmann::json{{"channels", p->bgr ? "BGR" : "RGB"}, {"divide_by", p->unit}, {"mean", p->mean}, {"std", p->std}}
            .dump());
  for (const auto& [key, value] : options.metadata) graph.metadata(key, value);
}
}  // namespace

void export_onnx(Model& model, const OnnxOptions& options, const std::string& path) {
  Device& device = model.state().front().parameter->var.device();
  if (!device.is_cpu()) throw ArgumentError("ONNX export: expected a model on the CPU, got one on " + device.name());
  if (model.task() == Task::classification && options.output != Output::logits)
    throw ArgumentError("ONNX export: a classifier's output is its logits");
  const Evaluating evaluating(model);
  const NoGrad no_grad(device);
  const Tensor image = Tensor::zeros({options.batch, options.height, options.width, 3}, DType::f32, device);

  Graph graph(model.name(), kOpset);
  {  // a first pass makes the folded weights of every part, which are constants of the graph
    const Observed observed(device, [](const OpEvent&) {});
    result_of(model, image, options.output);
  }
  const Tensor seen = image.clone();
  Translator translator(graph, device.next_storage_id());
  translator.bind(seen, "image");
  Var result;
  std::set<std::string> unknown;  // all of them, so that nobody adds one translation to hear of the next
  {
    const Observed observed(device, [&](const OpEvent& event) {
      if (!Translator::knows(event.op))
        unknown.insert(event.op);
      else if (unknown.empty())
        translator.add(event);
    });
    result = result_of(model, seen, options.output);
  }
  if (!unknown.empty())
    throw ArgumentError(
        fmt::format("ONNX export: {} has operators without a translation: {}", model.name(), fmt::join(unknown, ", ")));

  const auto shape_of = [&](std::vector<int64_t> shape) {
    if (options.free_batch) shape[0] = -1;
    return shape;
  };
  std::vector<int64_t> shape = shape_of(onnx_export::onnx_shape(result.shape()));
  std::string name = translator.name(result.value());
  graph.input("image", shape_of(onnx_export::onnx_shape(image.shape())));
  if (model.task() == Task::classification && result.dim(1) * result.dim(2) == 1) {
    shape = {shape[0], shape[1]};
    graph.node("Flatten", {name}, {}, "logits");
    graph.output("logits", shape);
  } else if (options.output == Output::labels) {
    graph.node("ArgMax", {name}, {.integer = {{"axis", 1}, {"keepdims", 0}}}, "labels");
    graph.output("labels", {shape[0], shape[2], shape[3]}, Graph::Type::int64);
  } else {
    const char* output = options.output == Output::logits ? "logits" : "log_probabilities";
    graph.node("Identity", {name}, {}, output);
    graph.output(output, shape);
  }
  add_metadata(graph, model, options);
  graph.save(path);
}

}  // namespace segrt::models
