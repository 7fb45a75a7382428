#include "tests/tools/segrt_op_vectors/compare.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"

namespace segrt::op_vectors {
namespace {

template <typename T>
std::vector<double> doubles(const Tensor& t) {
  std::vector<double> values;
  for (const T v : t.to_vector<T>()) {
    if constexpr (is_half_v<T>)
      values.push_back(static_cast<double>(static_cast<float>(v)));
    else
      values.push_back(static_cast<double>(v));
  }
  return values;
}

std::vector<double> float_values(const Tensor& t) {
  switch (t.dtype()) {
    case DType::f32: return doubles<float>(t);
    case DType::bf16: return doubles<bf16>(t);
    case DType::f16: return doubles<f16>(t);
    default: return doubles<double>(t);
  }
}

std::vector<int64_t> integer_values(const Tensor& t) {
  if (t.dtype() == DType::i64) return t.to_vector<int64_t>();
  if (t.dtype() == DType::i32) {
    const auto values = t.to_vector<int32_t>();
    return {values.begin(), values.end()};
  }
  const auto values = t.to_vector<uint8_t>();
  return {values.begin(), values.end()};
}

std::string position(size_t flat, const Shape& shape) {
  std::string text;
  for (int k = shape.rank() - 1; k >= 0; --k) {
    const auto extent = static_cast<size_t>(shape[k]);
    text = fmt::format("{}{}{}", flat % extent, text.empty() ? "" : ",", text);
    flat /= extent;
  }
  return "[" + text + "]";
}

// Error over tolerance; infinity where no tolerance helps.
double share_of(double got, double expected, double rtol, double atol) {
  if (std::isnan(got) || std::isnan(expected))
    return std::isnan(got) && std::isnan(expected) ? 0 : std::numeric_limits<double>::infinity();
  if (got == expected) return 0;
  if (std::isinf(got) || std::isinf(expected)) return std::numeric_limits<double>::infinity();
  return std::abs(got - expected) / (atol + rtol * std::abs(expected));  // infinity for a tolerance of 0
}

template <typename T, typename Share>
Comparison compare_values(const std::vector<T>& got, const std::vector<T>& expected, const Shape& shape,
                          const Share& share) {
  Comparison c;
  size_t differing = 0, worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double s = share(got[i], expected[i]);
    if (s > c.share) {
      c.share = s;
      worst = i;
    }
    if (s > 1) ++differing;
    const double error = std::abs(static_cast<double>(got[i]) - static_cast<double>(expected[i]));
    if (error > c.max_error) c.max_error = error;
  }
  c.equal = differing == 0;
  if (!c.equal)
    c.detail =
        fmt::format("{} of {} elements differ, most at {}: expected {:.9g}, got {:.9g}", differing, got.size(),
                    position(worst, shape), static_cast<double>(expected[worst]), static_cast<double>(got[worst]));
  return c;
}

}  // namespace

Comparison compare(const Tensor& got, const Tensor& expected, double rtol, double atol) {
  if (got.shape() != expected.shape() || got.dtype() != expected.dtype())
    return {.equal = false,
            .detail = fmt::format("expected {} {}, got {} {}", to_string(expected.dtype()), to_string(expected.shape()),
                                  to_string(got.dtype()), to_string(got.shape()))};
  if (is_float(got.dtype()))
    return compare_values(float_values(got), float_values(expected), got.shape(),
                          [&](double a, double b) { return share_of(a, b, rtol, atol); });
  return compare_values(integer_values(got), integer_values(expected), got.shape(),
                        [](int64_t a, int64_t b) { return a == b ? 0 : std::numeric_limits<double>::infinity(); });
}

}  // namespace segrt::op_vectors
