#include "nn/init.h"

#include <cmath>
#include <numbers>
#include <vector>

#include "core/op_scope.h"
#include "core/parallel.h"
#include "core/random.h"
#include "kernels/elementwise.h"

namespace segrt::nn {

// value(word0, word1) maps 64 random bits to one element.
template <typename F>
Tensor Init::drawn(const Shape& shape, const F& value) {
  const FunctionScope scope("initial value", device_);
  const uint64_t stream = stream_of({0x696e6974, stream_++});
  if (device_.is_meta()) return Tensor::empty(shape, DType::f32, device_);
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  parallel_for((shape.numel() + 1) / 2, 4096, [&](int64_t i) {  // one Philox block makes two elements
    const Philox4 block = philox(seed_, stream, static_cast<uint64_t>(i));
    for (int64_t k = 0; k < 2 && 2 * i + k < shape.numel(); ++k)
      values[static_cast<size_t>(2 * i + k)] = static_cast<float>(value(block.v[2 * k], block.v[2 * k + 1]));
  });
  return Tensor::from<float>(shape, values, device_);
}

namespace {
double standard_normal(uint32_t a, uint32_t b) {  // Box-Muller; (a + 1) / 2^32 is in (0, 1]
  const double radius = std::sqrt(-2 * std::log((static_cast<double>(a) + 1) * 0x1p-32));
  return radius * std::cos(2 * std::numbers::pi * static_cast<double>(b) * 0x1p-32);
}
}  // namespace

Tensor Init::normal(const Shape& shape, double std) {
  return drawn(shape, [std](uint32_t a, uint32_t b) { return std * standard_normal(a, b); });
}

Tensor Init::truncated_normal(const Shape& shape, double std, double bound) {
  return drawn(shape, [std, bound](uint32_t a, uint32_t b) {
    double value = std * standard_normal(a, b);
    for (uint64_t again = 1; std::abs(value) > bound; ++again) {
      const Philox4 next = philox(uint64_t{a} << 32 | b, stream_of({0x7472756e63}), again);
      value = std * standard_normal(next.v[0], next.v[1]);
    }
    return value;
  });
}

Tensor Init::uniform(const Shape& shape, double low, double high) {
  return drawn(shape,
               [low, high](uint32_t a, uint32_t) { return low + (high - low) * static_cast<double>(a) * 0x1p-32; });
}

Tensor Init::constant(const Shape& shape, double value) {
  const FunctionScope scope("initial value", device_);
  Tensor t = Tensor::empty(shape, DType::f32, device_);
  kernels::fill(t, value);
  return t;
}

}  // namespace segrt::nn
