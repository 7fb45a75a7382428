#include "tests/support/tensors.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/random.h"

namespace segrt::test {
namespace {
template <typename T>
Tensor converted(const Shape& shape, const std::vector<double>& values, Device& device) {
  std::vector<T> typed(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if constexpr (is_half_v<T>)
      typed[i] = T(static_cast<float>(values[i]));
    else
      typed[i] = static_cast<T>(values[i]);
  }
  return Tensor::from<T>(shape, typed, device);
}

template <typename T>
std::vector<double> widened(const Tensor& t) {
  const std::vector<T> typed = t.to_vector<T>();
  std::vector<double> values(typed.size());
  for (size_t i = 0; i < typed.size(); ++i) {
    if constexpr (is_half_v<T>)
      values[i] = static_cast<double>(static_cast<float>(typed[i]));
    else
      values[i] = static_cast<double>(typed[i]);
  }
  return values;
}
}  // namespace

std::vector<std::unique_ptr<Device>> test_devices() {
  std::vector<std::unique_ptr<Device>> devices;
  devices.push_back(Device::create("cpu"));
  if (Device::cuda_available()) devices.push_back(Device::create("cuda"));
  return devices;
}

std::vector<DType> dtypes_of(const Device& device) {
  std::vector<DType> dtypes{DType::f32, DType::bf16, DType::f16};
  if (device.is_cpu()) dtypes.push_back(DType::f64);
  return dtypes;
}

Tensor from_doubles(const Shape& shape, const std::vector<double>& values, DType dtype, Device& device) {
  switch (dtype) {
    case DType::f32: return converted<float>(shape, values, device);
    case DType::bf16: return converted<bf16>(shape, values, device);
    case DType::f16: return converted<f16>(shape, values, device);
    case DType::f64: return converted<double>(shape, values, device);
    case DType::i64: return converted<int64_t>(shape, values, device);
    case DType::i32: return converted<int32_t>(shape, values, device);
    case DType::u8: return converted<uint8_t>(shape, values, device);
  }
  throw ArgumentError("from_doubles: unknown dtype");
}

std::vector<double> to_doubles(const Tensor& t) {
  switch (t.dtype()) {
    case DType::f32: return widened<float>(t);
    case DType::bf16: return widened<bf16>(t);
    case DType::f16: return widened<f16>(t);
    case DType::f64: return widened<double>(t);
    case DType::i64: return widened<int64_t>(t);
    case DType::i32: return widened<int32_t>(t);
    case DType::u8: return widened<uint8_t>(t);
  }
  throw ArgumentError("to_doubles: unknown dtype");
}

Tensor random_normal(const Shape& shape, DType dtype, Device& device, const RandomOptions& options) {
  Rng rng(options.seed, 0x6e6f726d);
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  for (double& v : values) v = options.mean + options.std * rng.normal();
  return from_doubles(shape, values, dtype, device);
}

Tensor random_uniform(const Shape& shape, DType dtype, Device& device, double low, double high, uint64_t seed) {
  Rng rng(seed, 0x756e6966);
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  for (double& v : values) v = rng.uniform(low, high);
  return from_doubles(shape, values, dtype, device);
}

Tensor random_labels(const Shape& shape, DType dtype, Device& device, int classes, int ignore_every, uint64_t seed) {
  Rng rng(seed, 0x6c61626c);
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<double>(rng.integer(0, classes - 1));
    if (ignore_every > 0 && i % static_cast<size_t>(ignore_every) == 3) values[i] = 255;
  }
  return from_doubles(shape, values, dtype, device);
}

Tensor filled_with_nan(const Shape& shape, DType dtype, Device& device) {
  const std::vector<double> values(static_cast<size_t>(shape.numel()), std::numeric_limits<double>::quiet_NaN());
  return from_doubles(shape, values, dtype, device);
}

double relative_l2(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) != std::isnan(b[i])) return std::numeric_limits<double>::infinity();
    if (std::isnan(b[i]) || a[i] == b[i]) continue;  // equal infinities included
    difference += (a[i] - b[i]) * (a[i] - b[i]);
  }
  for (const double v : b)
    if (std::isfinite(v)) norm += v * v;
  return difference == 0 ? 0 : std::sqrt(difference / norm);
}

double relative_l2(const Tensor& a, const std::vector<double>& b) { return relative_l2(to_doubles(a), b); }
double relative_l2(const Tensor& a, const Tensor& b) { return relative_l2(to_doubles(a), to_doubles(b)); }

double max_abs_difference(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(a[i] - b[i]);
    if (std::isnan(d)) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, d);
  }
  return largest;
}

double tolerance(DType dtype, int64_t terms) {
  const double growth = std::sqrt(static_cast<double>(std::max<int64_t>(terms, 1)));
  switch (dtype) {
    case DType::f64: return 4 * 0x1p-53 * growth;
    case DType::f32: return 4 * 0x1p-24 * growth;
    // The result is rounded once; the sum itself runs in float32.
    case DType::bf16: return 2 * 0x1p-9 + 4 * 0x1p-24 * growth;
    case DType::f16: return 2 * 0x1p-12 + 4 * 0x1p-24 * growth;
    default: return 0;
  }
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace segrt::test
