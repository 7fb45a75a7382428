// What a network computes in, by the names of train.precision and --precision.
#pragma once

#include <string>
#include <vector>

#include "core/config.h"
#include "core/device.h"
#include "core/dtype.h"

namespace segrt::train {

// Activations, and the weights that multiply them. Parameters, statistics, losses and sums are f32 in every case
// (docs/mixed_precision.md).
struct Precision {
  DType dtype = DType::f32;
  bool tf32 = false;  // f32 products on a GPU's tensor cores, operands rounded to 10 bits; elsewhere f32
};
std::vector<std::string> precision_names();  // f32, tf32, bf16, f16
Precision parse_precision(const std::string& name);
Precision precision_setting(const Config& config);  // train.precision
// From here on, products of f32 tensors on the device are computed so.
void set_f32_products(Device& device, bool tf32);

}  // namespace segrt::train
