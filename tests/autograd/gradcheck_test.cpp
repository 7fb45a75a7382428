// Every differentiable operator against central differences in float64, at awkward shapes.
#include "autograd/gradcheck.h"

#include <doctest/doctest.h>

#include "autograd/channel_gate.h"
#include "autograd/conv.h"
#include "autograd/elementwise.h"
#include "autograd/layer_norm.h"
#include "autograd/loss.h"
#include "autograd/norm.h"
#include "autograd/patches.h"
#include "autograd/pool.h"
#include "core/op_event.h"
#include "tests/support/tensors.h"

namespace {
using namespace segrt;
using namespace segrt::autograd;
using test::random_normal;

// Central differences with step 1e-6 in float64 are good to about 1e-9 relative; operators of many terms lose a digit.
constexpr double kBound = 1e-7;

struct Fixture {
  std::unique_ptr<Device> cpu = Device::create("cpu");
  uint64_t seed = 1;
  Tensor input(const Shape& shape, double mean = 0, double std = 1) {
    return random_normal(shape, DType::f64, *cpu, {.seed = seed++, .mean = mean, .std = std});
  }
  void check(const std::function<Var(const std::vector<Var>&)>& f, const std::vector<Tensor>& inputs) {
    const GradcheckResult result = gradcheck(f, inputs);
    CAPTURE(result.where);
    CHECK(result.worst < kBound);
  }
};
}  // namespace

TEST_CASE_FIXTURE(Fixture, "gradcheck finds a wrong gradient") {
  const auto wrong = [](const std::vector<Var>& v) {
    Tensor y = Tensor::like(v[0].value());
    kernels::scale(v[0].value(), 2, 0, y);
    return record("wrong", {v[0]}, y, [](const Tensor& dy) -> Grads { return {dy}; });  // should be 2 dy
  };
  CHECK(gradcheck(wrong, {input({3})}).worst > 0.1);
}

TEST_CASE_FIXTURE(Fixture, "conv2d") {
  struct Case {
    Shape x, w;
    kernels::ConvGeometry g;
  };
  for (const Case& c : {Case{{1, 1, 1, 1}, {1, 1, 1, 1}, {}},
                        Case{{2, 5, 6, 3}, {4, 3, 3, 3}, kernels::ConvGeometry::square({.stride = 2, .padding = 1})},
                        Case{{1, 7, 5, 2}, {3, 3, 3, 2}, kernels::ConvGeometry::square({.padding = 4, .dilation = 4})},
                        Case{{1, 5, 5, 4}, {4, 3, 3, 1}, kernels::ConvGeometry::square({.padding = 1, .groups = 4})},
                        Case{{1, 4, 6, 4}, {6, 3, 2, 2}, {1, 2, 1, 0, 0, 1, 1, 1, 2}}}) {
    CAPTURE(c.x);
    check([&](const std::vector<Var>& v) { return conv2d(v[0], v[1], v[2], c.g); },
          {input(c.x), input(c.w), input({c.w[0]})});
    check([&](const std::vector<Var>& v) { return conv2d(v[0], v[1], v[2], c.g, v[3]); },
          {input(c.x), input(c.w), input({c.w[0]}), input(kernels::conv2d_output_shape(c.x, c.w, c.g))});
  }
}

TEST_CASE_FIXTURE(Fixture, "channel gates and patches") {
  for (const bool residual : {false, true})
    check([&](const std::vector<Var>& v) { return channel_gate(v[0], v[1], residual); },
          {input({2, 3, 2, 5}), input({2, 1, 1, 5})});
  const Tensor step = Tensor::zeros({1}, DType::i64, *cpu);
  check([&](const std::vector<Var>& v) { return channel_dropout(v[0], 0.4, 7, 3, step); }, {input({3, 2, 2, 5})});
  for (const int side : {1, 2, 3}) {
    check([&](const std::vector<Var>& v) { return space_to_depth(v[0], side); }, {input({2, 6, 6, 2})});
    check(
        [&](const std::vector<Var>& v) {
          const Patches p = split_patches(v[0], side);
          return concat_channels({mul(p.all, p.all), mul(p.means, p.means)});
        },
        {input({1, 6, 12, 2})});
  }
}

TEST_CASE_FIXTURE(Fixture, "channel dropout drops whole channels of an image and scales the others") {
  const Tensor step = Tensor::zeros({1}, DType::i64, *cpu);
  Tensor ones = Tensor::empty({4, 3, 5, 64}, DType::f64, *cpu);
  kernels::fill(ones, 1);
  const std::vector<double> y = test::to_doubles(channel_dropout(ones, 0.25, 7, 3, step).value());
  int dropped = 0;
  for (size_t n = 0; n < 4; ++n)
    for (size_t c = 0; c < 64; ++c) {
      const double first = y[n * 15 * 64 + c];
      CHECK((first == 0 || first == doctest::Approx(4.0 / 3)));
      dropped += first == 0 ? 1 : 0;
      for (size_t p = 1; p < 15; ++p) CHECK(y[(n * 15 + p) * 64 + c] == first);
    }
  CHECK(dropped > 256 / 4 - 28);  // four standard deviations
  CHECK(dropped < 256 / 4 + 28);
}

TEST_CASE_FIXTURE(Fixture, "conv_transpose2d") {
  const kernels::ConvGeometry up = kernels::ConvGeometry::square({.stride = 2, .padding = 1});
  check(
      [&](const std::vector<Var>& v) {
        return conv_transpose2d(v[0], v[1], v[2], {up, 1, 1});
      },
      {input({1, 3, 4, 3}), input({3, 3, 3, 2}), input({2})});
  const kernels::ConvGeometry depthwise = kernels::ConvGeometry::square({.stride = 4, .padding = 2, .groups = 3});
  check([&](const std::vector<Var>& v) { return conv_transpose2d(v[0], v[1], {}, {depthwise}); },
        {input({1, 2, 3, 3}), input({3, 8, 8, 1})});
}

TEST_CASE_FIXTURE(Fixture, "linear and matmul") {
  check([](const std::vector<Var>& v) { return linear(v[0], v[1], v[2]); },
        {input({2, 3, 5}), input({4, 5}), input({4})});
  for (const bool biased : {true, false})
    check(
        [&](const std::vector<Var>& v) {
          const Var none, &b1 = biased ? v[3] : none, &b2 = biased ? v[4] : none;
          return mlp(v[0], {.w1 = v[1], .b1 = b1, .w2 = v[2], .b2 = b2});
        },
        {input({2, 3, 5}), input({6, 5}), input({4, 6}), input({6}), input({4})});
  check([](const std::vector<Var>& v) { return matmul(v[0], v[1]); }, {input({3, 1}), input({1, 4})});
  check([](const std::vector<Var>& v) { return matmul(v[0], v[1]); }, {input({2, 3, 5}), input({2, 5, 4})});
}

TEST_CASE_FIXTURE(Fixture, "batch_norm in training and with frozen statistics, with residual and ReLU") {
  for (const bool training : {true, false})
    for (const bool relu : {true, false})
      for (const bool with_residual : {true, false}) {
        CAPTURE(training);
        CAPTURE(relu);
        CAPTURE(with_residual);
        const Tensor mean = input({3}), var = test::random_uniform({3}, DType::f64, *cpu, 0.5, 2);
        const auto f = [&](const std::vector<Var>& v) {
          // In training the running statistics are absent: the function must not change between calls.
          BatchNormState state{.running_mean = training ? Tensor() : mean, .running_var = training ? Tensor() : var};
          state.training = training;
          return batch_norm(v[0], v[1], v[2], state, with_residual ? v[3] : Var(), relu);
        };
        check(f, {input({2, 3, 2, 3}, 0.5, 2), input({3}), input({3}), input({2, 3, 2, 3})});
      }
}

TEST_CASE_FIXTURE(Fixture, "layer_norm, alone and behind an addition") {
  for (const Shape& shape : {Shape{1, 2}, Shape{2, 3, 2, 7}, Shape{5, 33}}) {
    CAPTURE(shape);
    const Shape c{shape[-1]};
    check([](const std::vector<Var>& v) { return layer_norm(v[0], v[1], v[2], 1e-6); },
          {input(shape), input(c), input(c)});
    // Both results take part, as in a residual stream.
    check(
        [](const std::vector<Var>& v) {
          const auto [sum, norm] = add_layer_norm(v[0], v[1], v[2], v[3], 1e-6);
          return add(mul(sum, sum), norm);
        },
        {input(shape), input(shape), input(c), input(c)});
    // The sum alone.
    check(
        [](const std::vector<Var>& v) {
          const auto [sum, norm] = add_layer_norm(v[0], v[1], v[2], v[2], 1e-6);
          return mul(sum, sum);
        },
        {input(shape), input(shape), input(c)});
  }
}

TEST_CASE_FIXTURE(Fixture, "drop path drops whole samples and scales the others") {
  const Tensor step = Tensor::zeros({1}, DType::i64, *cpu);
  check([&](const std::vector<Var>& v) { return drop_path(v[0], 0.4, 3, 7, step); }, {input({6, 2, 3})});
  const Tensor x = input({200, 3}, 5);
  const std::vector<double> before = test::to_doubles(x),
                            after = test::to_doubles(drop_path(x, 0.4, 3, 7, step).value());
  int dropped = 0;
  for (size_t n = 0; n < 200; ++n) {
    const bool gone = after[3 * n] == 0;
    dropped += gone;
    for (size_t k = 3 * n; k < 3 * n + 3; ++k) CHECK(after[k] == doctest::Approx(gone ? 0 : before[k] / 0.6));
  }
  CHECK(dropped > 55);  // 80 expected, standard deviation 7
  CHECK(dropped < 105);
  CHECK(test::to_doubles(drop_path(x, 0, 3, 7, step).value()) == before);
}

TEST_CASE_FIXTURE(Fixture, "conv_batch_norm in training and with frozen statistics, with residual and ReLU") {
  using G = kernels::ConvGeometry;
  struct Case {
    Shape x, w;
    G g;
  };
  for (const Case& c : {Case{{2, 5, 6, 2}, {3, 3, 3, 2}, G::square({.stride = 2, .padding = 1})},
                        Case{{2, 4, 3, 4}, {4, 3, 3, 1}, G::square({.padding = 2, .dilation = 2, .groups = 4})}})
    for (const bool training : {true, false})
      for (const bool relu : {true, false})
        for (const bool with_residual : {true, false}) {
          CAPTURE(c.x);
          CAPTURE(training);
          CAPTURE(relu);
          CAPTURE(with_residual);
          const int64_t out = c.w[0];
          const Tensor mean = input({out}), var = test::random_uniform({out}, DType::f64, *cpu, 0.5, 2);
          const auto f = [&](const std::vector<Var>& v) {
            BatchNormState state{.running_mean = training ? Tensor() : mean, .running_var = training ? Tensor() : var};
            state.training = training;
            return conv_batch_norm(v[0], v[1], c.g, v[2], v[3], state, with_residual ? v[4] : Var(), relu);
          };
          check(f, {input(c.x), input(c.w), input({out}), input({out}),
                    input(kernels::conv2d_output_shape(c.x, c.w, c.g))});
        }
}

TEST_CASE_FIXTURE(Fixture, "who watches operators may use some itself") {
  std::vector<Tensor> seen;
  cpu->op_observer = [&](const OpEvent& e) { seen.push_back(relu(e.output.clone()).value()); };
  relu(input({2, 3}));
  CHECK(seen.size() == 1);
  cpu->op_observer = [](const OpEvent& e) { throw Error(e.op); };
  for (int time = 0; time < 2; ++time) CHECK_THROWS_WITH_AS(relu(input({2, 3})), "unary", Error);
}

TEST_CASE_FIXTURE(Fixture, "operators of several parts show them to who watches") {
  std::vector<std::string> seen;
  cpu->op_observer = [&](const OpEvent& e) { seen.emplace_back(e.op); };
  const Var x(input({2, 3})), w1(input({4, 3})), b1(input({4})), w2(input({5, 4})), b2(input({5}));
  const Var watched = mlp(x, {.w1 = w1, .b1 = b1, .w2 = w2, .b2 = b2});
  CHECK(seen == std::vector<std::string>{"linear", "unary", "linear"});
  seen.clear();
  BatchNormState state;
  state.training = true;
  conv_batch_norm(input({1, 2, 2, 3}), input({4, 1, 1, 3}), {}, input({4}), input({4}), state);
  CHECK(seen == std::vector<std::string>{"conv2d", "batch_norm"});
  cpu->op_observer = nullptr;
  CHECK(test::relative_l2(mlp(x, {.w1 = w1, .b1 = b1, .w2 = w2, .b2 = b2}).value(), watched.value()) < 1e-14);
}

TEST_CASE("conv_batch_norm is conv2d and batch_norm, bit for bit") {
  for (auto& device : test::test_devices())
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(device->name());
      CAPTURE(dtype);
      const auto g = kernels::ConvGeometry::square({.padding = 1});
      const auto random = [&](const Shape& shape, DType type, uint64_t seed) {
        return random_normal(shape, type, *device, {.seed = seed});
      };
      struct Run {
        std::vector<std::vector<double>> values;
      };
      const auto run = [&](bool fused) {
        const Var x = Var::parameter(random({2, 5, 4, 8}, dtype, 1)),
                  w = Var::parameter(random({16, 3, 3, 8}, dtype, 2));
        const Var weight = Var::parameter(random({16}, DType::f32, 3)),
                  bias = Var::parameter(random({16}, DType::f32, 4));
        const Var residual = Var::parameter(random({2, 5, 4, 16}, dtype, 5));
        BatchNormState state{.running_mean = random({16}, DType::f32, 6), .running_var = random({16}, DType::f32, 7)};
        state.training = true;
        const Var y = fused ? conv_batch_norm(x, w, g, weight, bias, state, residual, true)
                            : batch_norm(conv2d(x, w, {}, g), weight, bias, state, residual, true);
        backward(mean(mul(y, random({2, 5, 4, 16}, dtype, 8))));
        Run r;
        for (const Tensor& t : {y.value(), state.running_mean, state.running_var, x.grad(), w.grad(), weight.grad(),
                                bias.grad(), residual.grad()})
          r.values.push_back(test::to_doubles(t));
        return r;
      };
      CHECK(run(true).values == run(false).values);
    }
}

TEST_CASE_FIXTURE(Fixture, "pooling") {
  const auto g = kernels::PoolGeometry::square({.kernel = 3, .stride = 2, .padding = 1});
  check([&](const std::vector<Var>& v) { return max_pool2d(v[0], g); }, {input({2, 5, 6, 2})});
  check([&](const std::vector<Var>& v) { return avg_pool2d(v[0], g); }, {input({1, 5, 6, 3})});
  check([](const std::vector<Var>& v) { return global_avg_pool(v[0]); }, {input({2, 3, 5, 3})});
}

TEST_CASE_FIXTURE(Fixture, "resize") {
  for (const auto coordinates :
       {kernels::Coordinates::half_pixel, kernels::Coordinates::align_corners, kernels::Coordinates::asymmetric})
    for (const auto mode : {kernels::ResizeMode::bilinear, kernels::ResizeMode::nearest}) {
      check([&](const std::vector<Var>& v) { return resize(v[0], 7, 5, {.mode = mode, .coordinates = coordinates}); },
            {input({1, 3, 4, 2})});
      check([&](const std::vector<Var>& v) { return resize(v[0], 2, 3, {.mode = mode, .coordinates = coordinates}); },
            {input({1, 5, 4, 1})});
    }
}

TEST_CASE_FIXTURE(Fixture, "elementwise operators") {
  using kernels::Unary;
  for (const Unary op : {Unary::relu, Unary::sigmoid, Unary::tanh, Unary::gelu, Unary::gelu_tanh, Unary::silu,
                         Unary::exp, Unary::square, Unary::abs, Unary::neg, Unary::erf}) {
    CAPTURE(static_cast<int>(op));
    check([&](const std::vector<Var>& v) { return unary(op, v[0]); }, {input({3, 7})});
  }
  for (const Unary op : {Unary::log, Unary::sqrt})
    check([&](const std::vector<Var>& v) { return unary(op, v[0]); },
          {test::random_uniform({9}, DType::f64, *cpu, 0.5, 2)});
  check([](const std::vector<Var>& v) { return unary(Unary::leaky_relu, v[0], {.alpha = 0.1}); }, {input({9})});
  check([](const std::vector<Var>& v) { return unary(Unary::selu, v[0], {.alpha = 1.67, .beta = 1.05}); },
        {input({9})});
  check([](const std::vector<Var>& v) { return scale(v[0], -3, 2); }, {input({5})});
  check([](const std::vector<Var>& v) { return mean(mul(v[0], v[0])); }, {input({2, 3})});
  check([](const std::vector<Var>& v) { return reshape(v[0], {3, 2}); }, {input({2, 3})});
  check(
      [](const std::vector<Var>& v) {
        return concat_channels({v[0], v[1], v[0]});
      },
      {input({1, 2, 2, 3}), input({1, 2, 2, 1})});
}

TEST_CASE_FIXTURE(Fixture, "binary operators and their broadcasts") {
  for (const Shape& b : {Shape{2, 3, 2, 4}, Shape{4}, Shape{2, 1, 1, 4}, Shape{2, 3, 2, 1}, Shape{1}}) {
    CAPTURE(b);
    const Tensor away_from_zero = test::random_uniform(b, DType::f64, *cpu, 0.5, 2, seed++);
    check([](const std::vector<Var>& v) { return add(v[0], v[1]); }, {input({2, 3, 2, 4}), input(b)});
    check([](const std::vector<Var>& v) { return sub(v[0], v[1]); }, {input({2, 3, 2, 4}), input(b)});
    check([](const std::vector<Var>& v) { return mul(v[0], v[1]); }, {input({2, 3, 2, 4}), input(b)});
    check([](const std::vector<Var>& v) { return div(v[0], v[1]); }, {input({2, 3, 2, 4}), away_from_zero});
  }
}

TEST_CASE_FIXTURE(Fixture, "dropout keeps its mask") {
  const Tensor step = Tensor::zeros({1}, DType::i64, *cpu);
  check([&](const std::vector<Var>& v) { return dropout(v[0], 0.4, 7, 3, step); }, {input({5, 9})});
}

TEST_CASE_FIXTURE(Fixture, "softmax and losses") {
  check([](const std::vector<Var>& v) { return softmax(v[0]); }, {input({2, 3, 5})});
  check([](const std::vector<Var>& v) { return log_softmax(v[0]); }, {input({1, 2, 2, 19})});
  const Tensor labels = test::random_labels({2, 7}, DType::u8, *cpu, 5);
  const Tensor weight = test::random_uniform({5}, DType::f64, *cpu, 0.5, 2);
  for (const Reduction r : {Reduction::none, Reduction::sum, Reduction::mean}) {
    check([&](const std::vector<Var>& v) { return cross_entropy(v[0], labels, {.class_weight = {}, .reduction = r}); },
          {input({2, 7, 5})});
    check([&](const std::vector<Var>& v) { return nll(v[0], labels, {.class_weight = {}, .reduction = r}); },
          {input({2, 7, 5})});
  }
}

TEST_CASE_FIXTURE(Fixture, "cross-entropy of mixed and smoothed targets") {
  for (const int64_t rows : {1, 2, 5})
    for (const int classes : {2, 7, 33}) {
      const Tensor labels = test::random_labels({rows}, DType::i64, *cpu, classes, 0, seed++);
      for (const double smoothing : {0.0, 0.1})
        for (const double share : {-1.0, 0.0, 0.3, 1.0}) {  // -1: none given
          CAPTURE(rows);
          CAPTURE(classes);
          CAPTURE(smoothing);
          CAPTURE(share);
          const Tensor given = share < 0 ? Tensor() : test::from_doubles({1}, {share}, DType::f32, *cpu);
          const kernels::MixedTargets targets{.labels = labels, .share = given, .smoothing = smoothing};
          check([&](const std::vector<Var>& v) { return mixed_cross_entropy(v[0], targets); },
                {input({rows, classes}, 0, 2)});
        }
    }
}

TEST_CASE_FIXTURE(Fixture, "upsampling and the fused segmentation loss") {
  const Tensor labels = test::random_labels({2, 7, 9}, DType::u8, *cpu, 4);
  const auto taps = kernels::bilinear_taps(3, 4, 7, 9, kernels::Coordinates::half_pixel, *cpu);
  check([&](const std::vector<Var>& v) { return upsample(v[0], taps); }, {input({2, 3, 4, 4})});
  check([&](const std::vector<Var>& v) { return upsample_cross_entropy(v[0], taps, labels).loss; },
        {input({2, 3, 4, 4})});
  check(
      [&](const std::vector<Var>& v) {
        return upsample_cross_entropy(v[0], taps, labels, {.count_ignored = true}).loss;
      },
      {input({2, 3, 4, 4})});
  const auto x8 = kernels::transposed_x8_taps(2, 1, *cpu);
  const Tensor wide = test::random_labels({1, 16, 8}, DType::u8, *cpu, 3);
  check([&](const std::vector<Var>& v) { return upsample_cross_entropy(v[0], x8, wide).loss; }, {input({1, 2, 1, 3})});
}
