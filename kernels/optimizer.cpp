#include "kernels/optimizer.h"

#include <fmt/format.h>

#include "kernels/check.h"
#include "kernels/cpu/optimizer.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/dispatch.h"
#include "kernels/learning_rate.h"

namespace segrt::kernels {
namespace {
void require_one(std::string_view op, std::string_view name, const Tensor& t, DType dtype) {
  require_shape(op, name, t, Shape{1});
  require_dtype(op, name, t, {dtype});
}

void require_optional(std::string_view op, std::string_view name, const Tensor& t, DType dtype, const Tensor& beside) {
  if (!t.defined()) return;
  require_one(op, name, t, dtype);
  require_device(op, name, t, beside);
}

void require_scalars(std::string_view op, const Tensor& lr, const Tensor& factor, const Tensor& skip) {
  require_one(op, "lr", lr, DType::f32);
  require_optional(op, "factor", factor, DType::f32, lr);
  require_optional(op, "skip", skip, DType::i32, lr);
}

// What the tensors of all optimizers have in common.
template <typename UpdateTensor>
void require_update(const std::string& op, const UpdateTensor& t, const Tensor& lr) {
  require_dtype(op, "w", t.w, {DType::f32});
  require_device(op, "w", t.w, lr);
  require_dtype(op, "dw", t.dw, {DType::f32, DType::bf16, DType::f16});
  require_shape(op, "dw", t.dw, t.w.shape());
  require_device(op, "dw", t.dw, lr);
  if (t.copy.defined()) require_same(op, "dw", t.dw, "copy", t.copy);
}

template <typename UpdateTensor>
void bump_versions(const std::vector<UpdateTensor>& tensors) {
  for (const UpdateTensor& t : tensors) {
    t.w.bump_version();
    if (t.copy.defined()) t.copy.bump_version();
  }
}

void require_schedule(std::string_view op, const LrSchedule& s) {
  const auto at_least = [&](std::string_view name, int64_t value, int64_t least) {
    if (value < least) throw ArgumentError(fmt::format("{}: {}: expected at least {}, got {}", op, name, least, value));
  };
  at_least("total", s.total, 1);
  at_least("steps_per_unit", s.steps_per_unit, 1);
  at_least("step_size", s.step_size, 1);
  at_least("warmup_steps", s.warmup_steps, 0);
}
}  // namespace

double learning_rate(const LrSchedule& s, int64_t step) {
  require_schedule("learning_rate", s);
  if (step < 0) throw ArgumentError(fmt::format("learning_rate: step: expected at least 0, got {}", step));
  return scheduled_learning_rate(s, step);
}

void compute_learning_rate(const LrSchedule& s, const Tensor& step, Tensor& lr) {
  require_schedule("compute_learning_rate", s);
  require_one("compute_learning_rate", "step", step, DType::i64);
  require_one("compute_learning_rate", "lr", lr, DType::f32);
  require_device("compute_learning_rate", "lr", lr, step);
  on_device(
      step, [&] { cuda::compute_learning_rate(s, step, lr); }, [&] { cpu::compute_learning_rate(s, step, lr); });
}

void advance_step(Tensor& step, const Tensor& skip) {
  require_one("advance_step", "step", step, DType::i64);
  require_optional("advance_step", "skip", skip, DType::i32, step);
  on_device(
      step, [&] { cuda::advance_step(step, skip); }, [&] { cpu::advance_step(step, skip); });
}

void sgd_step(std::vector<SgdTensor>& tensors, const SgdOptions& o, const Tensor& lr, const Tensor& factor,
              const Tensor& skip) {
  require_scalars("sgd_step", lr, factor, skip);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const SgdTensor& t = tensors[i];
    const std::string op = fmt::format("sgd_step: tensors[{}]", i);
    require_update(op, t, lr);
    require_same(op, "w", t.w, "momentum", t.momentum);
  }
  bump_versions(tensors);
  on_device(
      lr, [&] { cuda::sgd_step(tensors, o, lr, factor, skip); }, [&] { cpu::sgd_step(tensors, o, lr, factor, skip); });
}

void adam_step(std::vector<AdamTensor>& tensors, const AdamOptions& o, const Tensor& lr, const Tensor& updates,
               const Tensor& factor, const Tensor& skip) {
  const auto require_beta = [](std::string_view name, double beta) {
    if (!(beta >= 0 && beta < 1))
      throw ArgumentError(fmt::format("adam_step: {}: expected a number in [0, 1), got {}", name, beta));
  };
  require_beta("beta1", o.beta1);
  require_beta("beta2", o.beta2);
  require_scalars("adam_step", lr, factor, skip);
  require_one("adam_step", "updates", updates, DType::i64);
  require_device("adam_step", "updates", updates, lr);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const AdamTensor& t = tensors[i];
    const std::string op = fmt::format("adam_step: tensors[{}]", i);
    require_update(op, t, lr);
    require_same(op, "w", t.w, "m", t.m);
    require_same(op, "w", t.w, "v", t.v);
  }
  bump_versions(tensors);
  on_device(
      lr, [&] { cuda::adam_step(tensors, o, lr, updates, factor, skip); },
      [&] { cpu::adam_step(tensors, o, lr, updates, factor, skip); });
}

void compute_clip(const Tensor& norm, double max_norm, Tensor& clip) {
  require_one("compute_clip", "norm", norm, DType::f32);
  require_one("compute_clip", "clip", clip, DType::f32);
  require_device("compute_clip", "clip", clip, norm);
  if (!(max_norm > 0))
    throw ArgumentError(fmt::format("compute_clip: max_norm: expected a number > 0, got {}", max_norm));
  on_device(
      norm, [&] { cuda::compute_clip(norm, max_norm, clip); }, [&] { cpu::compute_clip(norm, max_norm, clip); });
}

}  // namespace segrt::kernels
