#include <fmt/format.h>

#include <cmath>

#include "kernels/elementwise.h"
#include "kernels/optimizer.h"
#include "tests/tools/segrt_op_vectors/layout.h"
#include "tests/tools/segrt_op_vectors/operators.h"

namespace segrt::op_vectors {

// Inputs R (learning rate), T (steps so far), then X..., G..., V...: weights, gradients, momenta. With g = G +
// norm_coefficient * X the standard says V' = alpha * V + (T > 0 ? beta : 1) * g and X' = X - R * V', Nesterov's form
// X' = X - R * (g + alpha * V'): the runtime's SGD with weight decay, momentum alpha and dampening 1 - beta.
Outputs run_momentum(const Case& c) {
  const Attributes& at = c.attributes();
  if (c.input_count() < 5 || (c.input_count() - 2) % 3 != 0)
    throw Malformed(fmt::format("Momentum: expected R, T and three lists, got {} inputs", c.input_count()));
  const size_t count = (c.input_count() - 2) / 3;
  const std::string mode = at.text("mode", "standard");
  if (mode != "standard" && mode != "nesterov") throw Malformed(fmt::format("attribute mode: unknown value {}", mode));
  const Tensor lr = as_dtype(c.float_input(0), DType::f32).reshape({1});
  const double beta = c.integer_input(1).at(0) > 0 ? at.number("beta", 1) : 1;

  std::vector<kernels::SgdTensor> tensors;
  for (size_t i = 0; i < count; ++i) {
    const Tensor w = c.float_input(2 + i), dw = c.float_input(2 + count + i), m = c.float_input(2 + 2 * count + i);
    if (w.dtype() != DType::f32 || m.dtype() != DType::f32)
      throw Unsupported(fmt::format("weights of {}: the runtime updates f32 weights", to_string(w.dtype())));
    tensors.push_back({.w = w.clone(),
                       .dw = dw,
                       .momentum = m.clone(),
                       .weight_decay = static_cast<float>(at.number("norm_coefficient", 0))});
  }
  kernels::sgd_step(tensors,
                    {.momentum = static_cast<float>(at.number("alpha", 0)),
                     .dampening = static_cast<float>(1 - beta),
                     .nesterov = mode == "nesterov"},
                    lr, {});
  Outputs outputs;
  for (const kernels::SgdTensor& t : tensors) outputs.push_back(t.w);
  for (const kernels::SgdTensor& t : tensors) outputs.push_back(t.momentum);
  return outputs;
}

// Inputs R, T, then X..., G..., V..., H...: weights, gradients, first and second moments. At T = 0 the standard
// corrects no bias: X' = X - R * V' / (sqrt(H') + epsilon). The runtime always does, so its rate and epsilon are chosen
// such that the corrections cancel.
Outputs run_adam(const Case& c) {
  const Attributes& at = c.attributes();
  if (c.input_count() < 6 || (c.input_count() - 2) % 4 != 0)
    throw Malformed(fmt::format("Adam: expected R, T and four lists, got {} inputs", c.input_count()));
  if (c.integer_input(1).at(0) != 0) throw Unsupported("T > 0");
  if (at.number("norm_coefficient_post", 0) != 0) throw Unsupported("norm_coefficient_post");
  const size_t count = (c.input_count() - 2) / 4;
  const double beta1 = at.number("alpha", 0.9), beta2 = at.number("beta", 0.999), root = std::sqrt(1 - beta2);
  Tensor lr = as_dtype(c.float_input(0), DType::f32).reshape({1}).clone();
  kernels::scale(lr, (1 - beta1) / root, 0, lr);

  std::vector<kernels::AdamTensor> tensors;
  for (size_t i = 0; i < count; ++i) {
    const auto part = [&](size_t list) { return c.float_input(2 + list * count + i); };
    if (part(0).dtype() != DType::f32)
      throw Unsupported(fmt::format("weights of {}: the runtime updates f32 weights", to_string(part(0).dtype())));
    tensors.push_back({.w = part(0).clone(),
                       .dw = part(1),
                       .m = part(2).clone(),
                       .v = part(3).clone(),
                       .weight_decay = static_cast<float>(at.number("norm_coefficient", 0))});
  }
  kernels::adam_step(tensors, {.beta1 = beta1, .beta2 = beta2, .eps = at.number("epsilon", 1e-6) / root}, lr,
                     Tensor::zeros({1}, DType::i64, lr.device()), {});
  Outputs outputs;
  for (const auto& t : tensors) outputs.push_back(t.w);
  for (const auto& t : tensors) outputs.push_back(t.m);
  for (const auto& t : tensors) outputs.push_back(t.v);
  return outputs;
}

}  // namespace segrt::op_vectors
