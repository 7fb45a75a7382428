// The sums of gradients over processes, whichever way each of them travels.
#include "train/data_parallel.h"

#include <string>
#include <vector>

#include "kernels/elementwise.h"
#include "tests/mpi/world.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_network.h"

using namespace segrt;

namespace {
// In bytes: all gradients in a bucket, a bucket each, where they lie, and some of each.
struct Ways {
  int64_t bucket, in_place;
};
constexpr Ways kWays[] = {{1 << 20, 1 << 20}, {1, 1 << 20}, {1 << 20, 1}, {1 << 20, 512}, {1000, 300}};

struct Gradients {
  std::unique_ptr<models::Model> model;
  std::vector<std::string> names;
  std::vector<Var> vars;

  explicit Gradients(Device& device) {
    nn::Init init(device, 1);
    model = std::make_unique<test::TinyNetwork>(5, init);
    model->visit_parameters([this](const std::string& path, nn::Parameter& p) {
      names.push_back(path);
      vars.push_back(p.var);
    });
  }
  // Of parameter k in this step, the same everywhere in it.
  static double value(int rank, size_t k, int step) { return rank + 1 + 10.0 * static_cast<double>(k) + 1000 * step; }
  Tensor gradient(size_t k, int step, DType dtype) {
    Tensor g = Tensor::empty(vars[k].shape(), dtype, vars[k].device());
    kernels::fill(g, value(test::world().rank(), k, step));
    return g;
  }
};

double expected_sum(size_t k, int step, int first_rank = 0) {
  double sum = 0;
  for (int r = first_rank; r < test::world().size(); ++r) sum += Gradients::value(r, k, step);
  return sum;
}

void check_all(const Tensor& t, double wanted) {
  for (const double v : test::to_doubles(t)) CHECK(v == wanted);
}
}  // namespace

TEST_CASE("gradients are summed over the processes, in buckets and where they lie") {
  const auto cpu = Device::create("cpu");
  for (const Ways& ways : kWays) {
    CAPTURE(ways.bucket);
    CAPTURE(ways.in_place);
    Gradients g(*cpu);
    train::DataParallel parallel(*g.model, test::world(),
                                 {.sync_bn = false, .bucket_bytes = ways.bucket, .in_place_bytes = ways.in_place});
    const size_t absent_in_one = 2, absent = 4, wide = 0;
    for (int step = 0; step < 5; ++step) {
      CAPTURE(step);
      // One is absent in process 0 in step 2, one everywhere in step 3, and one comes in another type from step 3 on.
      const auto has = [&](size_t k, int rank) {
        return (step != 2 || k != absent_in_one || rank != 0) && (step != 3 || k != absent);
      };
      std::vector<Tensor> kept;
      for (size_t k = 0; k < g.vars.size(); ++k) {
        if (!has(k, test::world().rank())) continue;
        kept.push_back(g.gradient(k, step, step >= 3 && k == wide ? DType::f64 : DType::f32));
        g.vars[k].set_grad(step == 1 ? kept.back() : kept.back().clone());
      }
      parallel.finish();
      for (size_t k = 0; k < g.vars.size(); ++k) {
        CAPTURE(g.names[k]);
        const int first = step == 2 && k == absent_in_one ? 1 : 0;  // process that has it
        const bool present = first < test::world().size() && !(step == 3 && k == absent);
        REQUIRE(g.vars[k].grad().defined() == present);
        if (!present) continue;
        CHECK(g.vars[k].grad().dtype() == (step >= 3 && k == wide ? DType::f64 : DType::f32));
        check_all(g.vars[k].grad(), expected_sum(k, step, first));
      }
      // What somebody else holds is not summed into.
      if (step == 1)
        for (size_t k = 0; k < kept.size(); ++k) check_all(kept[k], Gradients::value(test::world().rank(), k, step));
      g.model->clear_grads();
    }
    CHECK(parallel.buckets() > 0);
  }
}

TEST_CASE("a second backward pass before its sums are finished is refused, and abandoned ones are forgotten") {
  const auto cpu = Device::create("cpu");
  Gradients g(*cpu);
  train::DataParallel parallel(*g.model, test::world(), {.sync_bn = false, .in_place_bytes = 1});
  const auto arrive = [&] {
    backward(autograd::sum(g.model->forward(Tensor::zeros({1, 8, 8, 3}, DType::f32, *cpu))[0].scores));
  };
  g.model->set_training(true);
  arrive();
  CHECK(test::error_of(arrive).find("a second backward pass before finish()") != std::string::npos);
  parallel.abandon();
  g.model->clear_grads();
  arrive();
  parallel.finish();
  REQUIRE(g.names.back() == "head.bias");  // of 4x4 positions
  check_all(g.vars.back().grad(), 16.0 * test::world().size());
}
