#include "kernels/loss_scale.h"

#include <fmt/format.h>

#include "core/error.h"
#include "kernels/check.h"
#include "kernels/cuda/loss_scale.h"
#include "kernels/dispatch.h"
#include "kernels/loss_scale_step.h"

namespace segrt::kernels {

void judge_gradients(const LossScaleRule& rule, double max_norm, Tensor& norm, LossScaleState& state, Tensor& factor) {
  constexpr std::string_view kOp = "judge_gradients";
  const auto require_one = [&](std::string_view name, const Tensor& t, DType dtype) {
    require_shape(kOp, name, t, Shape{1});
    require_dtype(kOp, name, t, {dtype});
    require_device(kOp, name, t, norm);
  };
  require_one("norm", norm, DType::f32);
  require_one("factor", factor, DType::f32);
  require_one("scale", state.scale, DType::f32);
  require_one("good_steps", state.good_steps, DType::i64);
  require_one("skipped", state.skipped, DType::i64);
  require_one("skip", state.skip, DType::i32);
  require(rule.growth >= 1, kOp, fmt::format("growth: expected at least 1, got {}", rule.growth));
  require(rule.backoff > 0 && rule.backoff < 1, kOp,
          fmt::format("backoff: expected a number between 0 and 1, got {}", rule.backoff));
  require(rule.growth_interval >= 1, kOp,
          fmt::format("growth_interval: expected at least 1, got {}", rule.growth_interval));
  const LossScaleNumbers numbers = numbers_of(rule, max_norm);
  const LossScalePointers pointers = pointers_of(norm, state, factor);
  on_device(
      norm, [&] { cuda::judge_gradients(norm.device(), numbers, pointers); },
      [&] { judge_gradients_once(numbers, pointers); });
}

}  // namespace segrt::kernels
