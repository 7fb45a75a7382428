// Training by several processes beside training by one with the same samples.
#include <cmath>
#include <string>

#include "kernels/elementwise.h"
#include "models/model.h"
#include "tests/mpi/world.h"
#include "tests/support/tensors.h"
#include "train/data_parallel.h"
#include "train/network_loss.h"

using namespace segrt;
using train::LossAverage;

namespace {
constexpr int kIgnore = 255, kSteps = 3;

struct Family {
  const char* name;
  const char* table;
  int64_t side, f64_side;  // of the images, in float32 and in float64
  int64_t first_step;      // of 100: where all parts of the loss are there
  double lr;               // of its published recipe at the first step
};
const Family kFamilies[] = {
    {"DRN", "name = \"drn_d_22\"\nclasses = 5\n", 64, 32, 0, 0.01},
    {"Dynamic Routing", "name = \"dynamic_a\"\nclasses = 5\nlayers = 5\nwidth = 16\nsmall_gate = false\n", 64, 64, 60,
     5e-5},
    {"DABNet", "name = \"dabnet_r_p2\"\nclasses = 5\npatch = 1\n", 64, 64, 0, 2.5e-3},
    {"DGMN2", "name = \"dgmn2_tiny_fpn\"\nclasses = 5\n", 64, 64, 0, 1e-4},
};

// Sample n of process r: number first + n * stride of the whole batch.
struct Split {
  int64_t first, stride, count, total;
};
// Two samples each, as the loader deals them.
Split even_split(int rank, int size) { return {rank, size, 2, int64_t{2} * size}; }
// One sample for process 0, three for each of the others.
Split uneven_split(int rank, int size) {
  return rank == 0 ? Split{0, 1, 1, 3 * int64_t{size} - 2} : Split{3 * int64_t{rank} - 2, 1, 3, 3 * int64_t{size} - 2};
}

Tensor rows(const Tensor& all, const Split& s) {
  Shape shape = all.shape();
  std::vector<int64_t> dims(shape.dims().begin(), shape.dims().end());
  dims[0] = s.count;
  const Tensor part = Tensor::empty(Shape(dims), all.dtype(), all.device());
  for (int64_t n = 0; n < s.count; ++n) part.slice(n, 1).copy_from(all.slice(s.first + n * s.stride, 1));
  return part;
}

Tensor as_double(const Tensor& t) { return test::from_doubles(t.shape(), test::to_doubles(t), DType::f64, t.device()); }

std::unique_ptr<models::Model> build(const Family& family, DType dtype, uint64_t seed, Device& device) {
  nn::Init init(device, seed);
  auto model = models::build(Config::parse(std::string("[model]\n") + family.table, "test").table("model"), init);
  model->set_training(true);
  // Residual branches start small, as in published recipes: deep random networks magnify rounding.
  model->visit_parameters([](const std::string& path, nn::Parameter& p) {
    Tensor value = p.var.value();
    if (path.ends_with("bn2.weight")) kernels::scale(value, 0.125, 0, value);
  });
  if (dtype != DType::f64) return model;
  model->visit_parameters([](const std::string&, nn::Parameter& p) {
    if (p.trained) p.var = Var::parameter(as_double(p.var.value()));
  });
  model->visit_buffers([](const std::string&, nn::Buffer& b) {
    if (b.tensor.dtype() == DType::f32) b.tensor = as_double(b.tensor);
  });
  return model;
}

struct Batch {
  Tensor x, labels;
};
// Of the first sample most pixels are ignored, of the others few: or, on request, none at all.
Batch whole_batch(int64_t total, int64_t side, DType dtype, bool ignored, Device& device) {
  const Tensor x = test::random_normal({total, side, side, 3}, dtype, device, {.seed = 5});
  std::vector<uint8_t> labels =
      test::random_labels({total, side, side}, DType::u8, device, 5, 0, 6).to_vector<uint8_t>();
  for (size_t i = 0; ignored && i < labels.size(); ++i)
    if (i < static_cast<size_t>(side * side) ? i % 8 != 0 : i % 9 == 0) labels[i] = kIgnore;
  return {x, Tensor::from<uint8_t>({total, side, side}, labels, device)};
}

// Of every step: the loss, and every parameter's gradient norm, or kNone where it has no gradient.
struct Result {
  std::vector<double> losses, gradient_norms;
};
constexpr double kNone = -1;

Result train_steps(models::Model& model, const Batch& batch, const Family& family, train::DataParallel* parallel) {
  Result r;
  for (int64_t step = 0; step < kSteps; ++step) {
    model.begin_step(family.first_step + step, 100);
    train::NetworkLoss loss = train::network_loss(model, batch.x, batch.labels, {.ignore_index = kIgnore}, parallel);
    const Tensor total = parallel != nullptr ? over_processes(loss, *parallel).total.value() : loss.total.value();
    r.losses.push_back(total.item());
    backward(loss.total);
    loss = {};
    if (parallel != nullptr) parallel->finish();
    model.visit_parameters([&](const std::string&, nn::Parameter& p) {
      double sum = 0;
      if (p.var.grad().defined())
        for (const double g : test::to_doubles(p.var.grad())) sum += g * g;
      r.gradient_norms.push_back(p.var.grad().defined() ? std::sqrt(sum) : kNone);
      if (!p.var.grad().defined()) return;
      Tensor value = p.var.value();
      kernels::add_scaled(value, 1, p.var.grad(), -family.lr, value);
      value.bump_version();
    });
    model.clear_grads();
  }
  return r;
}

// Relative errors of a step's loss and of one parameter's gradient norm, the largest ones.
struct Comparison {
  double loss = 0, gradient = 0;
  size_t worst = 0;  // which gradient norm
};
// A norm below `zero` times that of all gradients of the step is zero but for rounding (a bias before a batch norm),
// and has no relative error.
Comparison compare(const Result& a, const Result& b, double zero) {
  Comparison c;
  REQUIRE(a.gradient_norms.size() == b.gradient_norms.size());
  for (size_t i = 0; i < a.losses.size(); ++i)
    c.loss = std::max(c.loss, std::abs(a.losses[i] - b.losses[i]) / std::abs(b.losses[i]));
  const size_t parameters = b.gradient_norms.size() / kSteps;
  for (size_t first = 0; first < b.gradient_norms.size(); first += parameters) {
    double all = 0;
    for (size_t i = first; i < first + parameters; ++i) all += std::pow(b.gradient_norms[i], 2);
    const double none = zero * std::sqrt(all);
    for (size_t i = first; i < first + parameters; ++i) {
      const double own = a.gradient_norms[i], expected = b.gradient_norms[i];
      CHECK((own == kNone) == (expected == kNone));
      if (own <= none && expected <= none) continue;
      const double error = std::abs(own - expected) / expected;
      if (error <= c.gradient) continue;
      c.gradient = error;
      c.worst = i;
    }
  }
  return c;
}

struct Job {
  const Family& family;
  DType dtype;
  Split split;
  bool ignored = true;
  train::DataParallel::Options options;

  int64_t side() const { return dtype == DType::f64 ? family.f64_side : family.side; }
};

Result train_alone(const Job& job, Device& device) {
  const auto model = build(job.family, job.dtype, 1, device);
  return train_steps(*model, whole_batch(job.split.total, job.side(), job.dtype, job.ignored, device), job.family,
                     nullptr);
}

Result train_together(const Job& job, Device& device) {
  const Batch all = whole_batch(job.split.total, job.side(), job.dtype, job.ignored, device);
  // Weights of its own in every process, so that the broadcast is needed.
  const auto model = build(job.family, job.dtype, 1, device);
  if (test::world().rank() > 0)
    model->visit_parameters([](const std::string&, nn::Parameter& p) { Tensor(p.var.value()).fill_zero(); });
  train::DataParallel parallel(*model, test::world(), job.options);
  parallel.broadcast_state();
  model->set_sample_share({.first = job.split.first, .stride = job.split.stride});
  return train_steps(*model, {rows(all.x, job.split), rows(all.labels, job.split)}, job.family, &parallel);
}

std::vector<std::string> parameter_names(const Family& family, Device& device) {
  std::vector<std::string> names;
  build(family, DType::f32, 1, device)->visit_parameters([&](const std::string& path, nn::Parameter&) {
    names.push_back(path);
  });
  return names;
}
}  // namespace

TEST_CASE("several processes train as one process with all their samples") {
  Communicator& world = test::world();
  const auto cpu = Device::create("cpu");
  for (const Family& family : kFamilies) {
    const std::vector<std::string> names = parameter_names(family, *cpu);
    for (const DType dtype : {DType::f64, DType::f32}) {
      const auto job = [&](const Split& split) {
        return Job{.family = family,
                   .dtype = dtype,
                   .split = split,
                   .options = {.loss_average = LossAverage::global, .bucket_bytes = 1 << 20}};
      };
      const Split even = even_split(world.rank(), world.size()), uneven = uneven_split(world.rank(), world.size());
      const Result alone = train_alone(job(even), *cpu);
      for (const Split& split : {even, uneven}) {
        if (split.total != even.total) continue;  // not the same images: of other worlds than of two
        const double bound = dtype == DType::f64 ? 1e-10 : 1e-5, zero = dtype == DType::f64 ? 1e-12 : 1e-6;
        const Comparison c = compare(train_together(job(split), *cpu), alone, zero);
        const std::string name = family.name, worst = names[c.worst % names.size()];
        CAPTURE(name);
        CAPTURE(to_string(dtype));
        CAPTURE(split.count);
        CAPTURE(worst);
        CHECK(c.loss <= bound);
        CHECK(c.gradient <= bound);
        if (world.rank() == 0)
          MESSAGE(name, " ", to_string(dtype), " ", split.count, " of ", split.total, ": loss ", c.loss,
                  ", gradient norms ", c.gradient, " (", worst, ", step ", c.worst / names.size(), ")");
      }
    }
  }
}

TEST_CASE("with the mean of each process's own loss, an ignored pixel weighs more where there are many") {
  Communicator& world = test::world();
  const auto cpu = Device::create("cpu");
  const auto run = [&](bool ignored, LossAverage average) {
    const Job job{.family = kFamilies[0],
                  .dtype = DType::f64,
                  .split = even_split(world.rank(), world.size()),
                  .ignored = ignored,
                  .options = {.loss_average = average}};
    return compare(train_together(job, *cpu), train_alone(job, *cpu), 1e-12);
  };
  CHECK(run(false, LossAverage::per_process).gradient <= 1e-10);  // equal numbers of pixels: the same mean
  if (world.size() > 1) CHECK(run(true, LossAverage::per_process).gradient > 1e-3);
}
