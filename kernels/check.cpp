#include "kernels/check.h"

#include <fmt/format.h>

#include "core/error.h"

namespace segrt::kernels {

void require(bool ok, std::string_view op, std::string_view message) {
  if (!ok) throw ArgumentError(fmt::format("{}: {}", op, message));
}

void require_defined(std::string_view op, std::string_view name, const Tensor& t) {
  if (!t.defined()) throw ArgumentError(fmt::format("{}: {}: expected a tensor, got an undefined one", op, name));
}

void require_rank(std::string_view op, std::string_view name, const Tensor& t, int rank) {
  require_defined(op, name, t);
  if (t.rank() != rank)
    throw ArgumentError(fmt::format("{}: {}: expected {} dimensions, got {}", op, name, rank, to_string(t.shape())));
}

void require_shape(std::string_view op, std::string_view name, const Tensor& t, const Shape& shape) {
  require_defined(op, name, t);
  if (t.shape() != shape)
    throw ArgumentError(fmt::format("{}: {}: expected {}, got {}", op, name, to_string(shape), to_string(t.shape())));
}

void require_dtype(std::string_view op, std::string_view name, const Tensor& t, std::initializer_list<DType> allowed) {
  require_defined(op, name, t);
  std::string list;
  for (const DType dtype : allowed) {
    if (dtype == t.dtype()) return;
    list += (list.empty() ? "" : " or ") + std::string(to_string(dtype));
  }
  throw ArgumentError(fmt::format("{}: {}: expected {}, got {}", op, name, list, to_string(t.dtype())));
}

void require_float(std::string_view op, std::string_view name, const Tensor& t) {
  require_defined(op, name, t);
  if (!is_float(t.dtype()) || (t.dtype() == DType::f64 && t.device().is_cuda()))
    throw ArgumentError(fmt::format("{}: {}: expected f32, bf16 or f16{}, got {}", op, name,
                                    t.device().is_cuda() ? "" : " (or f64)", to_string(t.dtype())));
}

void require_device(std::string_view op, std::string_view name, const Tensor& t, const Tensor& other) {
  require_defined(op, name, t);
  if (&t.device() != &other.device())
    throw ArgumentError(
        fmt::format("{}: {}: expected on {}, got on {}", op, name, other.device().name(), t.device().name()));
}

void require_same(std::string_view op, std::string_view a_name, const Tensor& a, std::string_view b_name,
                  const Tensor& b) {
  require_defined(op, a_name, a);
  require_defined(op, b_name, b);
  if (a.shape() != b.shape() || a.dtype() != b.dtype() || &a.device() != &b.device())
    throw ArgumentError(fmt::format("{}: {} and {} differ: {} is {}, {} is {}", op, a_name, b_name, a_name, describe(a),
                                    b_name, describe(b)));
}

void require_channel_vector(std::string_view op, std::string_view name, const Tensor& t, const Tensor& x) {
  require_shape(op, name, t, Shape{x.dim(-1)});
  require_dtype(op, name, t, {x.dtype() == DType::f64 ? DType::f64 : DType::f32});
  require_device(op, name, t, x);
}

void require_channel_statistics(std::string_view op, std::string_view a_name, const Tensor& a, std::string_view b_name,
                                const Tensor& b, const Tensor& x) {
  require_shape(op, a_name, a, Shape{x.dim(-1)});
  require_device(op, a_name, a, x);
  if (!x.device().is_cpu() || a.dtype() != DType::f64) require_channel_vector(op, a_name, a, x);
  require_shape(op, b_name, b, a.shape());
  require_device(op, b_name, b, x);
  require_dtype(op, b_name, b, {a.dtype()});
}

void require_channel_slice(std::string_view op, std::string_view wide_name, const Tensor& wide, const Shape& part,
                           std::string_view first_name, int64_t first) {
  require_defined(op, wide_name, wide);
  bool ok = part.rank() == wide.rank() && part.rank() >= 1;
  for (int i = 0; ok && i + 1 < part.rank(); ++i) ok = part[i] == wide.dim(i);
  if (!ok)
    throw ArgumentError(fmt::format("{}: {}: expected {} up to its last extent, got {}", op, wide_name, to_string(part),
                                    to_string(wide.shape())));
  const int64_t most = wide.dim(-1) - part[-1];
  if (most < 0)
    throw ArgumentError(
        fmt::format("{}: {}: expected {} channels or more, got {}", op, wide_name, part[-1], wide.dim(-1)));
  if (first < 0 || first > most)
    throw ArgumentError(fmt::format("{}: {}: expected 0 to {} ({} of {} channels), got {}", op, first_name, most,
                                    part[-1], wide.dim(-1), first));
}

}  // namespace segrt::kernels
