#include "train/precision.h"

#include "kernels/math_mode.h"

namespace segrt::train {

std::vector<std::string> precision_names() { return {"f32", "tf32", "bf16", "f16"}; }

Precision parse_precision(const std::string& name) {
  if (name == "tf32") return {.tf32 = true};
  return {.dtype = parse_dtype(name)};
}

Precision precision_setting(const Config& config) {
  return parse_precision(config.table("train").choice("precision", precision_names(), {.fallback = "f32"}));
}

void set_f32_products(Device& device, bool tf32) { device.state<kernels::MathMode>().tf32 = tf32; }

}  // namespace segrt::train
