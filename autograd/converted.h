// For the files of this folder: a tensor in another type.
#pragma once

#include "kernels/elementwise.h"

namespace segrt::autograd {

// t itself where it is of that type, else a copy, rounded.
inline Tensor converted(const Tensor& t, DType dtype) {
  if (t.dtype() == dtype) return t;
  Tensor copy = Tensor::empty(t.shape(), dtype, t.device());
  kernels::cast(t, copy);
  return copy;
}

}  // namespace segrt::autograd
