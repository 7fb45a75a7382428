// Parameters in 16 bits: the kept copy, and gradients that arrive in its type.
#include <doctest/doctest.h>

#include "autograd/conv.h"
#include "autograd/elementwise.h"
#include "kernels/elementwise.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::test;

namespace {
std::vector<double> rounded(const Tensor& t, DType dtype) {
  return to_doubles(from_doubles(t.shape(), to_doubles(t), dtype, t.device()));
}
}  // namespace

TEST_CASE("a parameter's copy stays in its place, and follows the value by its version") {
  for (const auto& device : test_devices())
    for (const DType dtype : {DType::bf16, DType::f16}) {
      CAPTURE(device->name());
      const Var w = Var::parameter(random_normal({5, 3}, DType::f32, *device));
      CHECK_FALSE(w.current_copy(dtype).defined());
      const Tensor first = autograd::compute_copy(w, dtype).value();
      CHECK(to_doubles(first) == rounded(w.value(), dtype));
      CHECK(w.current_copy(dtype).shares_storage(first));
      CHECK_FALSE(w.current_copy(DType::f32).defined());
      const uint64_t version = first.version();
      CHECK(autograd::compute_copy(w, dtype).value().shares_storage(first));
      CHECK(first.version() == version);  // nothing has been made again

      Tensor value = w.value();
      value.copy_from(random_normal({5, 3}, DType::f32, *device, {.seed = 2}));
      CHECK_FALSE(w.current_copy(dtype).defined());
      const Tensor second = autograd::compute_copy(w, dtype).value();
      CHECK(second.raw() == first.raw());
      CHECK(second.version() > version);
      CHECK(to_doubles(second) == rounded(w.value(), dtype));

      // Somebody writes both and says so: nothing is made again.
      kernels::fill(value, 2);
      value.bump_version();
      Tensor copy = second;
      kernels::fill(copy, 3);
      w.copy_is_current(dtype);
      CHECK(to_doubles(autograd::compute_copy(w, dtype).value()) == std::vector<double>(15, 3));
    }
}

TEST_CASE("a gradient arrives at the parameter in the type that was computed in, summed over its uses") {
  for (const auto& device : test_devices())
    for (const DType dtype : {DType::bf16, DType::f16}) {
      CAPTURE(device->name());
      const Var w = Var::parameter(random_normal({4, 3}, DType::f32, *device));
      const Tensor x = random_normal({6, 3}, dtype, *device, {.seed = 2});
      const auto gradient = [&](int uses, const Tensor& seed = {}) {
        Var total;
        for (int i = 0; i < uses; ++i) {
          const Var y = autograd::sum(autograd::linear(x, autograd::compute_copy(w, dtype), {}));
          total = total.defined() ? autograd::add(total, y) : y;
        }
        backward(total, seed);
        const Tensor g = w.grad();
        Var(w).clear_grad();
        return g;
      };
      const Tensor once = gradient(1);
      CHECK(once.dtype() == dtype);
      // d/dw of the sum of x w^T: the column sums of x in each row.
      const std::vector<double> values = to_doubles(x);
      std::vector<double> expected(12);
      for (size_t r = 0; r < 6; ++r)
        for (size_t i = 0; i < 12; ++i) expected[i] += values[r * 3 + i % 3];
      CHECK(relative_l2(once, expected) <= tolerance(dtype, 6));
      std::vector<double> doubled = to_doubles(once), scaled = doubled;
      for (double& v : doubled) v *= 2;
      for (double& v : scaled) v *= 256;
      CHECK(to_doubles(gradient(2)) == doubled);
      CHECK(to_doubles(gradient(1, from_doubles({1}, {256}, dtype, *device))) == scaled);
    }
}

TEST_CASE("what is no parameter is cast; what cannot be rounded is refused") {
  const auto device = Device::create("cpu");
  const Tensor w = random_normal({2, 2}, DType::f32, *device);
  CHECK(to_doubles(autograd::compute_copy(w, DType::bf16).value()) == rounded(w, DType::bf16));
  const Var p = Var::parameter(w);
  CHECK(autograd::compute_copy(p, DType::f32).value().shares_storage(w));
  CHECK(autograd::compute_copy(p, DType::f64).dtype() == DType::f64);
  CHECK(error_of([&] { static_cast<void>(p.rounded(DType::f64)); }) ==
        "rounded: expected f32 to bf16 or f16, got f32 to f64");
  CHECK(error_of([&] { static_cast<void>(Var(w).rounded(DType::bf16)); }) == "rounded: only a parameter keeps a copy");
}
