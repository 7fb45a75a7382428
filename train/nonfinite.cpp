#include "train/nonfinite.h"

#include <fmt/format.h>

#include "kernels/reduce.h"

namespace segrt::train {
namespace {
int64_t nonfinite_values(const Tensor& t) {
  Tensor count = Tensor::empty({1}, DType::i32, t.device());
  kernels::count_nonfinite({t}, count);
  return static_cast<int64_t>(count.item());
}

std::string described(const std::string& what, const Tensor& t, int64_t count) {
  return fmt::format("{} {} has {} non-finite of {} values", what, to_string(t.shape()), count, t.numel());
}
}  // namespace

std::string first_nonfinite(models::Model& model, const Tensor& input) {
  if (const int64_t count = nonfinite_values(input); count > 0) return described("the input", input, count);
  std::string found;
  model.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    if (!found.empty()) return;
    if (const int64_t count = nonfinite_values(p.var.value()); count > 0)
      found = described("parameter " + path, p.var.value(), count);
  });
  if (!found.empty()) return found;

  Device& device = input.device();
  std::string last_map = "input";
  int layer = 0;
  const NoGrad no_grad(device);
  device.observer = [&](const LayerEvent& event) {
    ++layer;
    if (!found.empty()) return;
    if (const int64_t count = nonfinite_values(event.output); count > 0)
      found = described(fmt::format("the output of layer {} ({}, after {})", layer, event.kind, last_map), event.output,
                        count);
  };
  model.tap = [&](std::string_view name, const Var&) { last_map = name; };
  model.forward(input);
  device.observer = nullptr;
  model.tap = nullptr;
  for (const models::AuxiliaryLoss& loss : model.auxiliary_losses())
    if (const int64_t count = nonfinite_values(loss.value.value()); count > 0 && found.empty())
      found = described("auxiliary loss " + loss.name, loss.value.value(), count);
  return found.empty() ? "every tensor is finite" : found;
}

}  // namespace segrt::train
