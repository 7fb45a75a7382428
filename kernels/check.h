// Argument checks for kernel fronts. Each throws ArgumentError "op: argument: expected ..., got ...".
#pragma once

#include <initializer_list>
#include <string_view>

#include "core/tensor.h"

namespace segrt::kernels {

void require_defined(std::string_view op, std::string_view name, const Tensor& t);
void require_rank(std::string_view op, std::string_view name, const Tensor& t, int rank);
void require_shape(std::string_view op, std::string_view name, const Tensor& t, const Shape& shape);
void require_dtype(std::string_view op, std::string_view name, const Tensor& t, std::initializer_list<DType> allowed);
void require_float(std::string_view op, std::string_view name, const Tensor& t);  // f32, bf16, f16; f64 on a CPU only
void require_device(std::string_view op, std::string_view name, const Tensor& t, const Tensor& other);
// Same shape, dtype and device.
void require_same(std::string_view op, std::string_view a_name, const Tensor& a, std::string_view b_name,
                  const Tensor& b);
// A [channels] vector of statistics or affine parameters for activations of x: f32 (f64 where x is f64), on x's device.
void require_channel_vector(std::string_view op, std::string_view name, const Tensor& t, const Tensor& x);
// Two vectors that a kernel computes of x's channels: channel vectors, or on a CPU f64 ones for any x.
void require_channel_statistics(std::string_view op, std::string_view a_name, const Tensor& a, std::string_view b_name,
                                const Tensor& b, const Tensor& x);
// That a map of shape `part` fits into channels [first, first + its own) of `wide`: all extents but the last agree.
void require_channel_slice(std::string_view op, std::string_view wide_name, const Tensor& wide, const Shape& part,
                           std::string_view first_name, int64_t first);
// Throws ArgumentError("op: message") unless ok.
void require(bool ok, std::string_view op, std::string_view message);

}  // namespace segrt::kernels
