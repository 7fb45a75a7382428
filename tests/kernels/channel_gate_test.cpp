#include "kernels/channel_gate.h"

#include <doctest/doctest.h>

#include "core/parallel.h"
#include "tests/support/tensors.h"

namespace segrt {
namespace {
using namespace test;

// One pixel, one channel, vectors and not, more than a tile of channels, several chunks of pixels.
const Shape kShapes[] = {{1, 1, 1, 1}, {2, 3, 5, 19}, {3, 7, 4, 32}, {2, 1, 3, 1152}, {2, 41, 43, 40}};

struct Gradients {
  std::vector<double> dx, dg;
};
Gradients reference(const Tensor& dy, const Tensor& x, const Tensor& g, bool residual) {
  const std::vector<double> d = to_doubles(dy), v = to_doubles(x), gate = to_doubles(g);
  const int64_t channels = x.dim(3), image = x.dim(1) * x.dim(2) * channels;
  Gradients r{std::vector<double>(d.size()), std::vector<double>(gate.size())};
  for (size_t i = 0; i < d.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    const auto k = static_cast<size_t>(at / image * channels + at % channels);
    r.dx[i] = d[i] * (gate[k] + (residual ? 1 : 0));
    r.dg[k] += d[i] * v[i];
  }
  return r;
}
}  // namespace

TEST_CASE("the channel gate and its gradients agree with float64 on every device") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Shape& shape : kShapes)
        for (const bool residual : {false, true}) {
          CAPTURE(device->name());
          CAPTURE(dtype);
          CAPTURE(shape);
          CAPTURE(residual);
          const Shape gates{shape[0], 1, 1, shape[3]};
          const Tensor x = random_normal(shape, dtype, *device), g = random_uniform(gates, dtype, *device, 0, 1, 2);
          const Tensor dy = random_normal(shape, dtype, *device, {.seed = 3});
          Tensor y = filled_with_nan(shape, dtype, *device), dx = filled_with_nan(shape, dtype, *device);
          Tensor dg = filled_with_nan(gates, dtype, *device);
          kernels::channel_gate_forward(x, g, residual, y);
          CHECK(relative_l2(y, reference(x, x, g, residual).dx) <= tolerance(dtype, 2));  // x in place of dy
          kernels::channel_gate_backward(dy, x, g, residual, &dx, &dg);
          const Gradients expected = reference(dy, x, g, residual);
          CHECK(relative_l2(dx, expected.dx) <= tolerance(dtype, 2));
          CHECK(relative_l2(dg, expected.dg) <= tolerance(dtype, shape[1] * shape[2]));

          Tensor alone = filled_with_nan(gates, dtype, *device), in_place = dy.clone();
          kernels::channel_gate_backward(dy, x, g, residual, nullptr, &alone);
          kernels::channel_gate_backward(in_place, x, g, residual, &in_place, nullptr);
          CHECK(to_doubles(alone) == to_doubles(dg));
          CHECK(to_doubles(in_place) == to_doubles(dx));
        }
}

TEST_CASE("the channel gate has the same bits for any number of threads") {
  const auto device = Device::create("cpu");
  const Tensor x = random_normal({2, 41, 43, 40}, DType::f32, *device);
  const Tensor g = random_normal({2, 1, 1, 40}, DType::f32, *device),
               dy = random_normal(x.shape(), DType::f32, *device);
  const auto gradient = [&](int count) {
    set_threads(count);
    Tensor dg = filled_with_nan(g.shape(), DType::f32, *device);
    kernels::channel_gate_backward(dy, x, g, true, nullptr, &dg);
    return to_doubles(dg);
  };
  const std::vector<double> one = gradient(1);
  CHECK(gradient(3) == one);
  set_threads(0);
}

TEST_CASE("the channel gate names what is wrong") {
  const auto device = Device::create("cpu");
  const Tensor x = random_normal({2, 3, 3, 4}, DType::f32, *device);
  Tensor y = Tensor::like(x);
  CHECK(error_of([&] {
          kernels::channel_gate_forward(x, Tensor::zeros({2, 4}, DType::f32, *device), false, y);
        }).find("channel_gate: g: expected [2,1,1,4]") != std::string::npos);
}

}  // namespace segrt
