#include <fmt/format.h>

#include "kernels/elementwise.h"
#include "tests/tools/segrt_op_vectors/layout.h"
#include "tests/tools/segrt_op_vectors/operators.h"

namespace segrt::op_vectors {
namespace {
using kernels::Binary;

Binary binary_of(const std::string& op) {
  if (op == "Sub") return Binary::sub;
  if (op == "Mul") return Binary::mul;
  if (op == "Div") return Binary::div;
  if (op == "Max") return Binary::max;
  if (op == "Min") return Binary::min;
  return Binary::add;  // Add, Sum, Mean
}

// Either may broadcast; the runtime repeats its second operand only.
Tensor broadcast_binary(Binary op, const Tensor& a, const Tensor& b) {
  const Shape shape = broadcast_shape(a.shape(), b.shape());
  const bool commutes = op != Binary::sub && op != Binary::div;
  Tensor y = unwritten(shape, a.dtype(), a.device());
  if (a.shape() != shape && b.shape() == shape && commutes)
    kernels::binary_forward(op, b, a, y);
  else
    kernels::binary_forward(op, expanded(a, shape), b, y);
  return y;
}

// Before opset 7 the second operand broadcasts on demand, its first extent at a given axis of the first.
Tensor aligned(const Case& c, const Tensor& a, const Tensor& b) {
  if (c.opset() >= 7 || c.attributes().integer("broadcast", 0) == 0 || !c.attributes().has("axis")) return b;
  const int axis = normalized_axis(c.attributes().integer("axis", 0), a.rank());
  Dims dims = dims_of(b);
  while (static_cast<int>(dims.size()) + axis < a.rank()) dims.push_back(1);
  return b.reshape(shape_of(dims));
}

DType dtype_of_onnx(int64_t code) {  // TensorProto.DataType
  switch (code) {
    case 1: return DType::f32;
    case 10: return DType::f16;
    case 11: return DType::f64;
    case 16: return DType::bf16;
    default: throw Unsupported(fmt::format("Cast to type {}: the runtime casts to f32, f16, bf16 and f64", code));
  }
}

Tensor cast_to(const Case& c, DType dtype) {
  const Tensor x = c.input(0);
  if (!c.device().is_cpu() && (x.dtype() == DType::f64 || dtype == DType::f64))
    throw Unsupported("f64: the runtime has it on the CPU only");
  Tensor y = unwritten(x.shape(), dtype, x.device());
  kernels::cast(x, y);
  return y;
}

}  // namespace

Outputs run_binary(const Case& c) {
  const Tensor a = c.float_input(0), b = c.float_input(1);
  return {broadcast_binary(binary_of(c.op()), a, aligned(c, a, b))};
}

Outputs run_variadic(const Case& c) {
  const Tensor first = c.float_input(0);
  Tensor y = widened(first);
  for (size_t i = 1; i < c.input_count(); ++i) y = broadcast_binary(binary_of(c.op()), y, widened(c.float_input(i)));
  if (c.op() == "Mean") {
    Tensor mean = unwritten_like(y);
    kernels::scale(y, 1.0 / static_cast<double>(c.input_count()), 0, mean);
    y = mean;
  }
  return {as_dtype(y, first.dtype())};
}

Outputs run_cast(const Case& c) {
  if (!c.attributes().has("to")) throw Malformed("attribute to is missing");
  return {cast_to(c, dtype_of_onnx(c.attributes().integer("to", 0)))};
}

Outputs run_cast_like(const Case& c) { return {cast_to(c, c.float_input(1).dtype())}; }

}  // namespace segrt::op_vectors
