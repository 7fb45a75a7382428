#include "autograd/pool.h"

#include "autograd/op_attributes.h"
#include "core/error.h"
#include "core/op_scope.h"

namespace segrt::autograd {

Var max_pool2d(const Var& x, const kernels::PoolGeometry& g) {
  const FunctionScope scope("max_pool2d", x.device());
  const Shape shape = kernels::pool2d_output_shape(x.shape(), g);
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  Tensor index = Tensor::empty(shape, DType::i32, x.device());
  kernels::max_pool2d_forward(x.value(), g, y, index);
  if (const auto& see = y.device().op_observer) see({"max_pool2d", {x.value()}, y, attributes_of(g)});
  return record("max_pool2d", {x}, y, [index, g, shape_x = x.shape()](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::empty(shape_x, dy.dtype(), dy.device());
    kernels::max_pool2d_backward(dy, index, g, dx);
    return {dx};
  });
}

Var avg_pool2d(const Var& x, const kernels::PoolGeometry& g) {
  const FunctionScope scope("avg_pool2d", x.device());
  Tensor y = Tensor::empty(kernels::pool2d_output_shape(x.shape(), g), x.dtype(), x.device());
  kernels::avg_pool2d_forward(x.value(), g, y);
  if (const auto& see = y.device().op_observer) see({"avg_pool2d", {x.value()}, y, attributes_of(g)});
  return record("avg_pool2d", {x}, y, [g, shape_x = x.shape()](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::empty(shape_x, dy.dtype(), dy.device());
    kernels::avg_pool2d_backward(dy, g, dx);
    return {dx};
  });
}

Var global_avg_pool(const Var& x) {
  const FunctionScope scope("global_avg_pool", x.device());
  if (x.shape().rank() != 4) throw ArgumentError("global_avg_pool: x: expected [N,H,W,C], got " + to_string(x.shape()));
  Tensor y = Tensor::empty({x.dim(0), 1, 1, x.dim(3)}, x.dtype(), x.device());
  kernels::global_avg_pool_forward(x.value(), y);
  if (const auto& see = y.device().op_observer) see({"global_avg_pool", {x.value()}, y});
  return record("global_avg_pool", {x}, y, [shape_x = x.shape()](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::empty(shape_x, dy.dtype(), dy.device());
    kernels::global_avg_pool_backward(dy, dx);
    return {dx};
  });
}

Var resize(const Var& x, int height, int width, const kernels::ResizeOptions& o) {
  const FunctionScope scope("resize", x.device());
  if (x.shape().rank() != 4) throw ArgumentError("resize: x: expected [N,H,W,C], got " + to_string(x.shape()));
  Tensor y = Tensor::empty({x.dim(0), height, width, x.dim(3)}, x.dtype(), x.device());
  kernels::resize_forward(x.value(), o, y);
  if (const auto& see = y.device().op_observer) see({"resize", {x.value()}, y, attributes_of(o)});
  return record(
      "resize", {x}, y,
      [o, shape_x = x.shape()](const Tensor& dy) -> Grads {
        Tensor dx = Tensor::empty(shape_x, dy.dtype(), dy.device());
        kernels::resize_backward(dy, o, dx);
        return {dx};
      },
      TakesGradient::of_any_type);
}

}  // namespace segrt::autograd
