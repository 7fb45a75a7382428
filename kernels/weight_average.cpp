#include "kernels/weight_average.h"

#include <fmt/format.h>

#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cpu/weight_average.h"
#include "kernels/cuda/weight_average.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {

void average_weights(std::vector<AveragedTensor>& tensors, double decay, const Tensor& skip) {
  constexpr std::string_view kOp = "average_weights";
  require(decay >= 0 && decay < 1, kOp, fmt::format("decay: expected a number in [0, 1), got {}", decay));
  if (tensors.empty()) return;
  const Tensor& first = tensors.front().average;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string op = fmt::format("{}: tensors[{}]", kOp, i);
    require_dtype(op, "average", tensors[i].average, {DType::f32});
    require_device(op, "average", tensors[i].average, first);
    require_same(op, "average", tensors[i].average, "value", tensors[i].value);
  }
  if (skip.defined()) {
    require_shape(kOp, "skip", skip, Shape{1});
    require_dtype(kOp, "skip", skip, {DType::i32});
    require_device(kOp, "skip", skip, first);
  }
  for (const AveragedTensor& t : tensors) t.average.bump_version();
  const OpScope scope("average_weights", first, [&] {
    OpWork work;  // averages are read and written
    for (const AveragedTensor& t : tensors) work.bytes += 2 * bytes_of(t.average) + bytes_of(t.value);
    return work;
  });
  const auto share = static_cast<float>(1 - decay);
  on_device(
      first, [&] { cuda::average_weights(tensors, share, skip); }, [&] { cpu::average_weights(tensors, share, skip); });
}

}  // namespace segrt::kernels
