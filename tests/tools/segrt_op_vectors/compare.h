// Whether a result is the one expected: numpy.allclose with equal_nan, as the ONNX backend tests compare.
#pragma once

#include <string>

#include "core/tensor.h"

namespace segrt::op_vectors {

struct Comparison {
  bool equal = true;
  double max_error = 0;  // largest |got - expected| of floating-point elements
  double share = 0;      // largest |got - expected| / (atol + rtol * |expected|)
  std::string detail;    // what differs, if not equal
};

// Shapes and dtypes must be the same. Integers must be equal; for floating-point numbers |got - expected| <= atol +
// rtol * |expected|, infinities and NaNs must stand in the same places.
Comparison compare(const Tensor& got, const Tensor& expected, double rtol, double atol);

}  // namespace segrt::op_vectors
