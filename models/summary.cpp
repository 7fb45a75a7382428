#include "models/summary.h"

#include "nn/state.h"

namespace segrt::models {

Summary summarize(const Config& model_table, const Shape& input) {
  const std::unique_ptr<Device> device = Device::create("meta");
  Summary summary;
  nn::Init init(*device, 0);
  const std::unique_ptr<Model> model = build(model_table, init);
  model->set_training(false);
  size_t named = 0;  // layers whose map is known
  model->tap = [&](std::string_view name, const Var&) {
    for (; named < summary.layers.size(); ++named) summary.layers[named].map = name;
  };
  device->observer = [&](const LayerEvent& e) {
    summary.layers.push_back({std::string(e.kind), "head", e.output.shape(), e.parameters, e.multiply_adds});
    if (e.kind == "conv2d" || e.kind == "linear")
      summary.multiply_adds += e.multiply_adds;
    else if (e.multiply_adds > 0)
      summary.other_multiply_adds[std::string(e.kind)] += e.multiply_adds;
  };
  {
    const NoGrad no_grad(*device);
    summary.output = model->forward(Tensor::empty(input, DType::f32, *device)).front().scores.shape();
  }
  device->observer = nullptr;
  summary.parameters = model->parameter_count();
  summary.state_tensors = static_cast<int64_t>(model->state().size());
  return summary;
}

std::vector<StateLine> state_lines(const Config& model_table) {
  const std::unique_ptr<Device> device = Device::create("meta");
  nn::Init init(*device, 0);
  const std::unique_ptr<Model> model = build(model_table, init);
  std::vector<StateLine> lines;
  for (const nn::Module::StateEntry& e : model->state()) {
    const Tensor& t = e.parameter != nullptr ? e.parameter->var.value() : e.buffer->tensor;
    lines.push_back({e.path, t.dtype(), nn::upstream_shape(t.shape()), e.parameter != nullptr});
  }
  return lines;
}

}  // namespace segrt::models
