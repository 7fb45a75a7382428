#include "kernels/gate.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cpu/gate.h"
#include "kernels/cuda/gate.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {
namespace {

// Values of a sample or of the layer: kept in what sums of `map` are kept in.
void require_values(std::string_view op, std::string_view name, const Tensor& t, const Shape& shape,
                    const Tensor& map) {
  require_shape(op, name, t, shape);
  require_dtype(op, name, t, {map.dtype() == DType::f64 ? DType::f64 : DType::f32});
  require_device(op, name, t, map);
}

// S of a weight [S,1,1,K].
int64_t require_weight(std::string_view op, const Tensor& weight, int64_t channels, const Tensor& map) {
  require_rank(op, "weight", weight, 4);
  const int64_t slots = weight.dim(0);
  if (slots < 1 || slots > kMaxGateSlots)
    throw ArgumentError(fmt::format("{}: weight: expected 1 to {} slots, got {}", op, kMaxGateSlots, slots));
  require_values(op, "weight", weight, {slots, 1, 1, channels}, map);
  return slots;
}

}  // namespace

void gate_forward(const Tensor& y, const Tensor& weight, const Tensor& bias, Tensor& pooled, Tensor& z, Tensor& g) {
  constexpr std::string_view kOp = "gate";
  require_rank(kOp, "y", y, 4);
  require_float(kOp, "y", y);
  const int64_t batch = y.dim(0), channels = y.dim(3), slots = require_weight(kOp, weight, channels, y);
  require_values(kOp, "bias", bias, {slots}, y);
  require_values(kOp, "pooled", pooled, {batch, channels}, y);
  require_values(kOp, "z", z, {batch, slots}, y);
  require_values(kOp, "g", g, {batch, slots}, y);
  if (batch == 0) return;
  require(y.numel() > 0, kOp, "y: a map without pixels or channels has no mean");
  const OpScope scope(kOp, g, [&] { return OpWork{bytes_of(y, weight, bias, pooled, z, g)}; });
  on_device(
      y, [&] { cuda::gate_forward(y, weight, bias, pooled, z, g); },
      [&] { cpu::gate_forward(y, weight, bias, pooled, z, g); });
}

void gate_backward(const Tensor& dg, const Tensor& pooled, const Tensor& g, const Tensor& weight, Tensor* dy,
                   Tensor* dweight, Tensor* dbias) {
  constexpr std::string_view kOp = "gate_backward";
  require_rank(kOp, "dg", dg, 2);
  require_dtype(kOp, "dg", dg, {DType::f32, DType::f64});
  require_float(kOp, "dg", dg);  // no f64 on CUDA
  require_rank(kOp, "pooled", pooled, 2);
  const int64_t batch = dg.dim(0), channels = pooled.dim(1), slots = require_weight(kOp, weight, channels, dg);
  require_values(kOp, "dg", dg, {batch, slots}, dg);
  require_values(kOp, "pooled", pooled, {batch, channels}, dg);
  require_values(kOp, "g", g, {batch, slots}, dg);
  if (dy != nullptr) {
    require_rank(kOp, "dy", *dy, 4);
    require_float(kOp, "dy", *dy);
    require((dy->dtype() == DType::f64) == (dg.dtype() == DType::f64), kOp,
            "dy: expected f64 with f64 dg, and only so");
    require_shape(kOp, "dy", *dy, {batch, dy->dim(1), dy->dim(2), channels});
    require_device(kOp, "dy", *dy, dg);
    if (dy->numel() == 0) dy = nullptr;
  }
  if (dweight != nullptr) require_values(kOp, "dweight", *dweight, weight.shape(), dg);
  if (dbias != nullptr) require_values(kOp, "dbias", *dbias, {slots}, dg);
  if (dy == nullptr && dweight == nullptr && dbias == nullptr) return;
  const OpScope scope(kOp, dy != nullptr ? *dy : pooled,
                      [&] { return OpWork{bytes_of(dg, pooled, g, weight, dy, dweight, dbias)}; });
  on_device(
      dg, [&] { cuda::gate_backward(dg, pooled, g, weight, dy, dweight, dbias); },
      [&] { cpu::gate_backward(dg, pooled, g, weight, dy, dweight, dbias); });
}

}  // namespace segrt::kernels
