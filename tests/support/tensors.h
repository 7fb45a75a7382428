// What tests over several devices and dtypes share: devices, random tensors, float64 copies, error measures.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace segrt::test {

// The CPU, and CUDA (or its emulator) where this build has it and one is present. Fresh devices each call; keep the
// result alive for as long as its tensors:  for (auto& device : test_devices()) ... *device ...
std::vector<std::unique_ptr<Device>> test_devices();
// The types of floating-point kernels there: f32, bf16, f16, and f64 on a CPU.
std::vector<DType> dtypes_of(const Device& device);

struct RandomOptions {
  uint64_t seed = 1;
  double mean = 0, std = 1;
};
Tensor random_normal(const Shape& shape, DType dtype, Device& device, const RandomOptions& options = {});
Tensor random_uniform(const Shape& shape, DType dtype, Device& device, double low, double high, uint64_t seed = 1);
// u8, i32 or i64 in [0, classes); every `ignore_every`-th (0: none) is 255.
Tensor random_labels(const Shape& shape, DType dtype, Device& device, int classes, int ignore_every = 7,
                     uint64_t seed = 1);
Tensor filled_with_nan(const Shape& shape, DType dtype, Device& device);  // an element that no thread writes stays NaN

std::vector<double> to_doubles(const Tensor& t);  // any dtype, on the host
Tensor from_doubles(const Shape& shape, const std::vector<double>& values, DType dtype, Device& device);

// ||a - b|| / ||b|| (0 for two zeros; infinity if either has a NaN that the other lacks or the sizes differ).
double relative_l2(const std::vector<double>& a, const std::vector<double>& b);
double relative_l2(const Tensor& a, const std::vector<double>& b);
double relative_l2(const Tensor& a, const Tensor& b);
double max_abs_difference(const std::vector<double>& a, const std::vector<double>& b);

// Rounding of the dtype (inputs and output rounded to it, sums in its accumulator) times the growth of a sum of
// `terms`.
double tolerance(DType dtype, int64_t terms = 1);

// The message of the Error that f throws; "" if it throws none.
std::string error_of(const std::function<void()>& f);

}  // namespace segrt::test
