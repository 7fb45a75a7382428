#include "kernels/attention_check.h"

#include <fmt/format.h>

#include "core/error.h"
#include "kernels/check.h"

namespace segrt::kernels {

AttentionShape require_projections(std::string_view op, std::string_view name, const Tensor& qkv) {
  require_rank(op, name, qkv, 4);
  require_float(op, name, qkv);
  if (qkv.dim(3) == 0 || qkv.dim(3) % (3 * kHeadWidth) != 0)
    throw ArgumentError(fmt::format("{}: {}: expected queries, keys and values in heads of {} channels, got {}", op,
                                    name, kHeadWidth, to_string(qkv.shape())));
  return AttentionShape::of(qkv);
}

void require_position(std::string_view op, std::string_view name, const Tensor& t, const Shape& shape,
                      const Tensor& qkv) {
  require_shape(op, name, t, shape);
  require_dtype(op, name, t, {qkv.dtype() == DType::f64 ? DType::f64 : DType::f32});
  require_device(op, name, t, qkv);
}

}  // namespace segrt::kernels
