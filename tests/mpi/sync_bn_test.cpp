#include "autograd/elementwise.h"
#include "autograd/norm.h"
#include "kernels/elementwise.h"
#include "tests/mpi/world.h"
#include "tests/support/tensors.h"

using namespace segrt;
using autograd::BatchNormState;

namespace {
// Process r has r + 1 samples: counts differ.
int64_t first_sample(int rank) { return int64_t{rank} * (rank + 1) / 2; }

struct Run {
  std::vector<double> y, dx, dresidual;                               // of the samples asked for
  std::vector<double> dweight, dbias, dw, running_mean, running_var;  // over all
};

struct Options {
  DType dtype = DType::f32;
  double mean = 0;
  bool relu = false, with_conv = false, mean_weight_gradient = false;
};

constexpr int64_t kChannels = 19;

// Samples [first, first + count) of the same data, normalised with those of `processes`.
Run run(Device& device, const Options& o, int64_t first, int64_t count, int64_t total, Communicator* processes) {
  const DType affine = o.dtype == DType::f64 ? DType::f64 : DType::f32;
  const auto random = [&](const Shape& shape, DType dtype, uint64_t seed, double mean) {
    return test::random_normal(shape, dtype, device, {.seed = seed, .mean = mean});
  };
  const Shape all{total, 3, 2, kChannels};
  const auto part = [&](uint64_t seed, double mean) {
    return random(all, o.dtype, seed, mean).slice(first, count).clone();
  };
  const Var x = Var::parameter(part(1, o.mean)), residual = Var::parameter(part(2, 0));
  const Var weight = Var::parameter(random({kChannels}, affine, 3, 1)),
            bias = Var::parameter(random({kChannels}, affine, 4, 0));
  const Var w = Var::parameter(random({kChannels, 1, 1, kChannels}, o.dtype, 5, 0));
  BatchNormState state{.running_mean = random({kChannels}, affine, 6, 0),
                       .running_var = test::random_uniform({kChannels}, affine, device, 0.5, 2, 7),
                       .training = true,
                       .processes = processes,
                       .mean_weight_gradient = o.mean_weight_gradient};
  const Var y = o.with_conv ? autograd::conv_batch_norm(x, w, {}, weight, bias, state, residual, o.relu)
                            : autograd::batch_norm(x, weight, bias, state, residual, o.relu);
  const int64_t per_process = y.value().numel();
  backward(autograd::scale(autograd::mean(autograd::mul(y, part(8, 0))), static_cast<double>(per_process)));
  const auto over_all = [&](const Tensor& gradient) {
    const Tensor sum = gradient.clone();
    if (processes != nullptr) processes->all_reduce(sum);
    return test::to_doubles(sum);
  };
  Run r{test::to_doubles(y.value()),
        test::to_doubles(x.grad()),
        test::to_doubles(residual.grad()),
        over_all(weight.grad()),
        over_all(bias.grad()),
        {},
        test::to_doubles(state.running_mean),
        test::to_doubles(state.running_var)};
  if (o.with_conv) r.dw = over_all(w.grad());
  return r;
}

std::vector<double> rows(const std::vector<double>& all, int64_t first, int64_t count, int64_t total) {
  const auto row = static_cast<std::ptrdiff_t>(all.size()) / total;
  return {all.begin() + first * row, all.begin() + (first + count) * row};
}

void check_close(const char* what, const std::vector<double>& a, const std::vector<double>& b, double bound) {
  CAPTURE(what);
  CHECK(test::relative_l2(a, b) <= bound);
}
}  // namespace

TEST_CASE("batch norm over several processes is that of one process with all samples") {
  Communicator& world = test::world();
  const int64_t total = first_sample(world.size()), first = first_sample(world.rank()), count = world.rank() + 1;
  for (const auto& device : test::test_devices())
    for (const DType dtype : test::dtypes_of(*device))
      for (const bool with_conv : {false, true})
        for (const bool relu : {false, true}) {
          CAPTURE(device->name());
          CAPTURE(to_string(dtype));
          CAPTURE(with_conv);
          CAPTURE(relu);
          const Options o{.dtype = dtype, .relu = relu, .with_conv = with_conv};
          const Run one = run(*device, o, 0, total, total, nullptr);
          const Run mine = run(*device, o, first, count, total, &world);
          const double bound = 8 * test::tolerance(dtype);  // sums in another order
          check_close("y", mine.y, rows(one.y, first, count, total), bound);
          // The same bits: sums of all processes in f64, rounded once. In 16 bits dy itself depends on the number of
          // samples, by which the loss above is multiplied.
          if (device->is_cpu() && dtype != DType::f64) CHECK(mine.y == rows(one.y, first, count, total));
          if (device->is_cpu() && dtype == DType::f32) CHECK(mine.dx == rows(one.dx, first, count, total));
          check_close("dx", mine.dx, rows(one.dx, first, count, total), bound);
          check_close("dresidual", mine.dresidual, rows(one.dresidual, first, count, total), bound);
          check_close("dweight", mine.dweight, one.dweight, bound);
          check_close("dbias", mine.dbias, one.dbias, bound);
          check_close("dw", mine.dw, one.dw, bound);
          check_close("running_mean", mine.running_mean, one.running_mean, bound);
          check_close("running_var", mine.running_var, one.running_var, bound);
        }
}

TEST_CASE("batch norm over several processes keeps its digits where the mean is far from zero") {
  Communicator& world = test::world();
  const auto cpu = Device::create("cpu");
  const int64_t total = first_sample(world.size()), first = first_sample(world.rank()), count = world.rank() + 1;
  const Options o{.dtype = DType::f64, .mean = 1e6};
  const Run one = run(*cpu, o, 0, total, total, nullptr), mine = run(*cpu, o, first, count, total, &world);
  // The mean itself has an error of 1e6 * 2^-53 of a standard deviation; sums of squares would have lost 1e12 of them.
  check_close("y", mine.y, rows(one.y, first, count, total), 1e-8);
  check_close("dx", mine.dx, rows(one.dx, first, count, total), 1e-8);
}

TEST_CASE("the scale's gradient as synchronised norms of 2017 had it") {
  Communicator& world = test::world();
  const auto cpu = Device::create("cpu");
  // Equal counts, so that the factor comes out of the sum.
  const Options plain{.dtype = DType::f64}, published{.dtype = DType::f64, .mean_weight_gradient = true};
  const int64_t total = 2 * world.size(), first = 2 * world.rank();
  Run right = run(*cpu, plain, first, 2, total, &world);
  const Run as_published = run(*cpu, published, first, 2, total, &world);
  const double positions = world.size() == 1 ? 1 : 2 * 3 * 2;  // alone nothing is synchronised
  for (double& d : right.dweight) d /= positions;
  check_close("dweight", as_published.dweight, right.dweight, 1e-14);
  CHECK(as_published.dbias == right.dbias);
  CHECK(as_published.dx == right.dx);
}
