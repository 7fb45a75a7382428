#include "kernels/loss_scale.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::test;

namespace {
struct Scaler {
  explicit Scaler(Device& on, double scale)
      : device(on),
        state{.scale = from_doubles({1}, {scale}, DType::f32, on),
              .good_steps = Tensor::zeros({1}, DType::i64, on),
              .skipped = Tensor::zeros({1}, DType::i64, on),
              .skip = Tensor::zeros({1}, DType::i32, on)},
        factor(filled_with_nan({1}, DType::f32, on)) {}

  void judge(double scaled_norm, double max_norm = 0) {
    norm = from_doubles({1}, {scaled_norm}, DType::f32, device);
    kernels::judge_gradients({.growth = 2, .backoff = 0.25, .growth_interval = 3}, max_norm, norm, state, factor);
  }
  // scale, good steps, skipped steps, skip
  std::vector<double> values() const {
    return {state.scale.item(), state.good_steps.item(), state.skipped.item(), state.skip.item()};
  }

  Device& device;
  kernels::LossScaleState state;
  Tensor factor, norm;
};
}  // namespace

TEST_CASE("the loss scale grows after good steps in a row and backs off at each overflow, as GradScaler's does") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    Scaler s(*device, 1024);
    s.judge(4096);
    CHECK(s.norm.item() == 4);
    CHECK(s.factor.item() == 1.0 / 1024);
    CHECK(s.values() == std::vector<double>{1024, 1, 0, 0});
    s.judge(512);
    CHECK(s.values() == std::vector<double>{1024, 2, 0, 0});
    s.judge(INFINITY);
    CHECK(s.values() == std::vector<double>{256, 0, 1, 1});
    s.judge(NAN);
    CHECK(s.values() == std::vector<double>{64, 0, 2, 1});
    for (int i = 0; i < 3; ++i) s.judge(1);
    CHECK(s.factor.item() == 1.0 / 64);  // of the scale that this step had
    CHECK(s.values() == std::vector<double>{128, 0, 2, 0});

    s.judge(128 * 8, 2);  // clips the norm of the unscaled gradients
    CHECK(s.norm.item() == 8);
    CHECK(s.factor.item() == doctest::Approx(2.0 / 8 / 128).epsilon(1e-6));
    s.judge(128 * 0.5, 2);
    CHECK(s.factor.item() == 1.0 / 128);

    Scaler largest(*device, std::ldexp(1.0, 127));  // twice that is infinite
    for (int i = 0; i < 3; ++i) largest.judge(1);
    CHECK(largest.values() == std::vector<double>{std::ldexp(1.0, 127), 0, 0, 0});
  }
}

TEST_CASE("judge_gradients refuses wrong arguments by name") {
  for (const auto& device : test_devices()) {
    Scaler s(*device, 1);
    Tensor norm = Tensor::zeros({1}, DType::f32, *device), two = Tensor::zeros({2}, DType::f32, *device);
    CHECK(error_of([&] { kernels::judge_gradients({}, 0, two, s.state, s.factor); }) ==
          "judge_gradients: norm: expected [1], got [2]");
    CHECK(error_of([&] { kernels::judge_gradients({.backoff = 1}, 0, norm, s.state, s.factor); }) ==
          "judge_gradients: backoff: expected a number between 0 and 1, got 1");
    s.state.skip = norm;
    CHECK(error_of([&] { kernels::judge_gradients({}, 0, norm, s.state, s.factor); }) ==
          "judge_gradients: skip: expected i32, got f32");
  }
}
