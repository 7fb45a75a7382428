// The operators of dynamic routing against central differences in float64, at awkward shapes.
#include "autograd/routing.h"

#include <doctest/doctest.h>

#include "autograd/elementwise.h"
#include "autograd/gradcheck.h"
#include "tests/support/tensors.h"

namespace {
using namespace segrt;
using namespace segrt::autograd;
using test::from_doubles;
using test::random_normal;

constexpr double kBound = 1e-7;  // as in gradcheck_test.cpp

struct Fixture {
  std::unique_ptr<Device> cpu = Device::create("cpu");
  uint64_t seed = 1;
  Tensor input(const Shape& shape, double mean = 0, double std = 1) {
    return random_normal(shape, DType::f64, *cpu, {.seed = seed++, .mean = mean, .std = std});
  }
  // Gates of open paths.
  Tensor open(const Shape& shape) { return test::random_uniform(shape, DType::f64, *cpu, 0.1, 1, seed++); }
  void check(const std::function<Var(const std::vector<Var>&)>& f, const std::vector<Tensor>& inputs) {
    const GradcheckResult result = gradcheck(f, inputs);
    CAPTURE(result.where);
    CHECK(result.worst < kBound);
  }
};
}  // namespace

TEST_CASE_FIXTURE(Fixture, "gate") {
  const auto f = [](const std::vector<Var>& v) { return gate(v[0], v[1], v[2]); };
  check(f, {input({1, 1, 1, 1}, 1, 0), input({1, 1, 1, 1}, 1, 0), input({1}, 0, 0)});
  check(f, {input({2, 3, 5, 7}), input({3, 1, 1, 7}), from_doubles({3}, {0.5, -0.5, 1.5}, DType::f64, *cpu)});
  check(f, {input({3, 2, 1, 4}), input({2, 1, 1, 4}), from_doubles({2}, {-3, 0.25}, DType::f64, *cpu)});
}

TEST_CASE_FIXTURE(Fixture, "gated_sum: one term, plain and gated") {
  for (const bool upsample2 : {false, true}) {
    CAPTURE(upsample2);
    const Tensor x = input({2, 3, 2, 5});
    check([&](const std::vector<Var>& v) { return gated_sum({{.x = v[0], .upsample2 = upsample2}}); }, {x});
    check(
        [&](const std::vector<Var>& v) {
          return gated_sum({{.x = v[0], .gate = v[1], .slot = 1, .upsample2 = upsample2}});
        },
        {x, open({2, 3})});
  }
  check([&](const std::vector<Var>& v) { return gated_sum({{.x = v[0], .gate = v[1]}}); },
        {input({1, 1, 1, 1}), open({1, 1})});
}

TEST_CASE_FIXTURE(Fixture, "gated_sum: a cell's input") {
  for (const Shape& y : {Shape{1, 2, 2, 1}, Shape{2, 4, 6, 3}, Shape{3, 2, 8, 2}}) {
    CAPTURE(y);
    const int64_t n = y[0];
    check(
        [](const std::vector<Var>& v) {
          return gated_sum({{.x = v[0], .gate = v[4], .slot = 1},
                            {.x = v[1], .gate = v[5], .slot = 1},
                            {.x = v[2], .gate = v[5], .slot = 0},
                            {.x = v[3], .gate = v[6], .slot = 2, .upsample2 = true}});
        },
        {input(y), input(y), input(y), input({n, y[1] / 2, y[2] / 2, y[3]}), open({n, 2}), open({n, 3}), open({n, 3})});
  }
}

TEST_CASE_FIXTURE(Fixture, "gated_sum: one map and one gate in several terms") {
  check(
      [](const std::vector<Var>& v) {
        return gated_sum({{.x = v[0], .gate = v[1], .slot = 1}, {.x = v[0]}, {.x = v[0], .gate = v[1], .slot = 1}});
      },
      {input({2, 3, 3, 2}), open({2, 2})});
}

// A whole cell's gating with closed paths: numeric derivatives are 0 behind the ReLU, and so must ours be.
TEST_CASE_FIXTURE(Fixture, "gate and gated_sum with closed paths") {
  const Tensor y = from_doubles({3, 1, 1, 2}, {1, 0, 0, 1, -1, -1}, DType::f64, *cpu);
  const Tensor weight = from_doubles({2, 1, 1, 2}, {0.7, -0.4, 0.3, 0.5}, DType::f64, *cpu);
  const Tensor bias = from_doubles({2}, {-0.1, -0.2}, DType::f64, *cpu);
  Tensor z;
  gate(y, weight, bias, &z);
  // Sample 0: both open; 1: slot 0 closed; 2: all closed.
  CHECK(test::max_abs_difference(test::to_doubles(z), {0.6, 0.1, -0.5, 0.3, -0.4, -1.0}) <= 1e-15);
  check(
      [](const std::vector<Var>& v) {
        const Var g = gate(v[0], v[1], v[2]);
        return gated_sum(
            {{.x = v[3]}, {.x = v[4], .gate = g, .slot = 0}, {.x = v[5], .gate = g, .slot = 1, .upsample2 = true}});
      },
      {y, weight, bias, input({3, 2, 4, 3}), input({3, 2, 4, 3}), input({3, 1, 2, 3})});
}

TEST_CASE_FIXTURE(Fixture, "gradients go only where they are wanted") {
  const Tensor x = input({2, 2, 2, 3}), g = open({2, 2});
  const auto run = [&](const Var& map, const Var& gates) {
    backward(sum(gated_sum({{.x = map, .gate = gates}, {.x = map, .gate = gates, .slot = 1}})));
  };
  const Var both_x = Var::parameter(x), both_g = Var::parameter(g), only_x = Var::parameter(x),
            only_g = Var::parameter(g);
  run(both_x, both_g);
  run(only_x, g);
  run(x, only_g);
  CHECK(test::to_doubles(only_x.grad()) == test::to_doubles(both_x.grad()));
  CHECK(test::to_doubles(only_g.grad()) == test::to_doubles(both_g.grad()));
}

TEST_CASE_FIXTURE(Fixture, "routing in bf16 keeps gates and their gradients in f32") {
  const auto half = [&](const Shape& shape) { return Var::parameter(random_normal(shape, DType::bf16, *cpu)); };
  const Var y = half({2, 4, 4, 8}), x = half({2, 4, 4, 8}), low = half({2, 2, 2, 8});
  const Var weight = Var::parameter(random_normal({3, 1, 1, 8}, DType::f32, *cpu));
  const Var bias = Var::parameter(random_normal({3}, DType::f32, *cpu, {.mean = 1.5, .std = 0.1}));
  const Var g = gate(y, weight, bias);
  CHECK(g.dtype() == DType::f32);
  const Var routed = gated_sum({{.x = x, .gate = g, .slot = 0}, {.x = low, .gate = g, .slot = 1, .upsample2 = true}});
  CHECK(routed.dtype() == DType::bf16);
  backward(sum(routed));
  CHECK(y.grad().dtype() == DType::bf16);
  CHECK(low.grad().dtype() == DType::bf16);
  CHECK(weight.grad().dtype() == DType::f32);
}
