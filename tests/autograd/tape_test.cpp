#include "autograd/tape.h"

#include <doctest/doctest.h>

#include "autograd/elementwise.h"
#include "core/error.h"
#include "tests/support/tensors.h"

namespace {
using namespace segrt;
using namespace segrt::autograd;
using test::to_doubles;

struct Fixture {
  std::unique_ptr<Device> cpu = Device::create("cpu");
  Var leaf(const std::vector<double>& values) {
    return Var::parameter(test::from_doubles({static_cast<int64_t>(values.size())}, values, DType::f32, *cpu));
  }
};
}  // namespace

TEST_CASE_FIXTURE(Fixture, "a leaf used several times gets the sum of its gradients") {
  const Var x = leaf({2, -3});
  backward(sum(add(mul(x, x), add(x, x))));  // d/dx (x^2 + 2x) = 2x + 2
  CHECK(to_doubles(x.grad()) == std::vector<double>{6, -4});
}

TEST_CASE_FIXTURE(Fixture, "who watches a leaf is told once its gradient is complete, while the pass goes on") {
  const Var early = leaf({2, -3}), late = leaf({1, 4}), unused = leaf({1, 1});
  std::vector<std::string> told;
  late.on_gradient([&] {
    told.emplace_back("late");
    CHECK(to_doubles(late.grad()) == std::vector<double>{2 + 2 + 1, -3 + 8 + 1});  // all of its three readers
    CHECK_FALSE(early.grad().defined());
  });
  early.on_gradient([&] {
    told.emplace_back("early");
    CHECK(early.grad().defined());
  });
  unused.on_gradient([&] { told.emplace_back("unused"); });
  const Var x = scale(early, 1);
  backward(sum(add(mul(x, late), add(mul(late, late), late))));
  CHECK(told == std::vector<std::string>{"late", "early"});
  CHECK_FALSE(unused.grad().defined());
  CHECK_THROWS_AS(x.on_gradient([] {}), ArgumentError);
}

TEST_CASE_FIXTURE(Fixture, "gradients accumulate over backward passes until they are cleared") {
  Var x = leaf({1, 2});
  backward(sum(scale(x, 3)));
  backward(sum(scale(x, 4)));
  CHECK(to_doubles(x.grad()) == std::vector<double>{7, 7});
  x.clear_grad();
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE_FIXTURE(Fixture, "an operator that returns dy twice does not alias its gradients") {
  const Var a = leaf({1}), b = leaf({1});
  const Var y = add(a, b);
  backward(sum(add(y, scale(a, 5))));  // da = 1 + 5, db = 1
  CHECK(to_doubles(a.grad()) == std::vector<double>{6});
  CHECK(to_doubles(b.grad()) == std::vector<double>{1});
}

TEST_CASE_FIXTURE(Fixture, "a constant, and everything under NoGrad, records nothing") {
  const Var x = leaf({1});
  const Var constant(x.value());
  CHECK_FALSE(scale(constant, 2).needs_grad());
  {
    const NoGrad no_grad(*cpu);
    CHECK_FALSE(scale(x, 2).needs_grad());
    const NoGrad nested(*cpu);
  }
  CHECK(scale(x, 2).needs_grad());
}

TEST_CASE_FIXTURE(Fixture, "saved tensors are freed as the backward pass consumes them") {
  const int64_t before = cpu->memory().current_bytes;
  const Var x = Var::parameter(Tensor::zeros({1 << 16}, DType::f32, *cpu));
  const int64_t one = cpu->memory().current_bytes - before;
  Var y = x;
  for (int i = 0; i < 20; ++i) y = mul(y, y);
  Var loss = sum(y);
  y = Var();
  CHECK(cpu->memory().current_bytes - before > 20 * one);  // every factor is kept
  cpu->reset_peak();
  const int64_t at_start = cpu->memory().current_bytes;
  backward(loss);
  CHECK(cpu->memory().peak_bytes - at_start <= 4 * one);  // the tape shrinks as fast as gradients grow
  loss = Var();
  CHECK(cpu->memory().current_bytes - before <= 2 * one + 4096);  // x and its gradient
}

TEST_CASE_FIXTURE(Fixture, "misuse is an error") {
  const Var x = leaf({1, 2});
  CHECK(test::error_of([&] { backward(scale(x, 2)); }).find("one element") != std::string::npos);
  CHECK(test::error_of([&] { backward(Var(x.value())); }).find("depends on no parameter") != std::string::npos);
  const Var loss = sum(scale(x, 2));
  backward(loss);
  CHECK(test::error_of([&] { backward(loss); }).find("earlier backward") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "a deep graph neither overflows the stack nor visits a node twice") {
  const Var x = leaf({1});
  Var y = x;
  for (int i = 0; i < 20000; ++i) y = add(y, y);  // 2^20000 paths
  y = scale(x, 1);
  for (int i = 0; i < 20000; ++i) y = scale(y, 1);
  backward(sum(y));
  CHECK(to_doubles(x.grad()) == std::vector<double>{1});
}
