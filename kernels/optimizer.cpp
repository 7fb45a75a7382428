#include "kernels/optimizer.h"

#include <fmt/format.h>

#include "core/op_scope.h"
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
  const OpScope scope("compute_learning_rate", lr, [&] { return OpWork{bytes_of(step, lr)}; });
  on_device(
      step, [&] { cuda::compute_learning_rate(s, step, lr); }, [&] { cpu::compute_learning_rate(s, step, lr); });
}

void advance_step(Tensor& step) {
  require_one("advance_step", "step", step, DType::i64);
  const OpScope scope("advance_step", step, [&] { return OpWork{bytes_of(step, step)}; });
  on_device(
      step, [&] { cuda::advance_step(step); }, [&] { cpu::advance_step(step); });
}

void sgd_step(std::vector<SgdTensor>& tensors, const SgdOptions& o, const Tensor& lr, const Tensor& clip) {
  constexpr std::string_view kOp = "sgd_step";
  require_one(kOp, "lr", lr, DType::f32);
  if (clip.defined()) {
    require_one(kOp, "clip", clip, DType::f32);
    require_device(kOp, "clip", clip, lr);
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    const SgdTensor& t = tensors[i];
    const std::string op = fmt::format("{}: tensors[{}]", kOp, i);
    require_dtype(op, "w", t.w, {DType::f32});
    require_device(op, "w", t.w, lr);
    require_same(op, "w", t.w, "momentum", t.momentum);
    require_dtype(op, "dw", t.dw, {DType::f32, DType::bf16, DType::f16});
    require_shape(op, "dw", t.dw, t.w.shape());
    require_device(op, "dw", t.dw, lr);
  }
  for (const SgdTensor& t : tensors) t.w.bump_version();
  const OpScope scope(kOp, lr, [&] {
    OpWork work;  // w and momentum are read and written
    for (const SgdTensor& t : tensors) work.bytes += 2 * bytes_of(t.w, t.momentum) + bytes_of(t.dw);
    return work;
  });
  on_device(
      lr, [&] { cuda::sgd_step(tensors, o, lr, clip); }, [&] { cpu::sgd_step(tensors, o, lr, clip); });
}

void compute_clip(const Tensor& norm, double max_norm, Tensor& clip) {
  require_one("compute_clip", "norm", norm, DType::f32);
  require_one("compute_clip", "clip", clip, DType::f32);
  require_device("compute_clip", "clip", clip, norm);
  if (!(max_norm > 0))
    throw ArgumentError(fmt::format("compute_clip: max_norm: expected a number > 0, got {}", max_norm));
  const OpScope scope("compute_clip", clip, [&] { return OpWork{bytes_of(norm, clip)}; });
  on_device(
      norm, [&] { cuda::compute_clip(norm, max_norm, clip); }, [&] { cpu::compute_clip(norm, max_norm, clip); });
}

}  // namespace segrt::kernels
