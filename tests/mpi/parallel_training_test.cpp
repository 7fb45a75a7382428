// Training by several processes beside training by one with the same samples.
#include <array>
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
    {"Dynamic Routing", "name = \"dynamic_a\"\nclasses = 5\nlayers = 5\nwidth = 16\nsmall_gate = false\n", 64, 32, 60,
     5e-5},
    {"DABNet", "name = \"dabnet_r_p2\"\nclasses = 5\npatch = 1\n", 64, 64, 0, 2.5e-3},
    {"DGMN2", "name = \"dgmn2_tiny_fpn\"\nclasses = 5\n", 64, 32, 0, 1e-4},
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

// The gradients of step `step` of a training, which it leaves in the parameters; its figures go to the end of r.
void compute_gradients(models::Model& model, const Batch& batch, int64_t step, train::DataParallel* parallel,
                       Result& r) {
  model.begin_step(step, 100);
  train::NetworkLoss loss = train::network_loss(model, batch.x, batch.labels, {.ignore_index = kIgnore}, parallel);
  const Tensor total = parallel != nullptr ? over_processes(loss, *parallel).total.value() : loss.total.value();
  r.losses.push_back(total.item());
  backward(loss.total);
  loss = {};
  if (parallel != nullptr) parallel->finish();
  model.round_grads();
  model.visit_parameters([&](const std::string&, nn::Parameter& p) {
    double sum = 0;
    if (p.var.grad().defined())
      for (const double g : test::to_doubles(p.var.grad())) sum += g * g;
    r.gradient_norms.push_back(p.var.grad().defined() ? std::sqrt(sum) : kNone);
  });
}

void descend(models::Model& model, double lr) {
  model.visit_parameters([&](const std::string&, nn::Parameter& p) {
    if (!p.var.grad().defined()) return;
    Tensor value = p.var.value();
    kernels::add_scaled(value, 1, p.var.grad(), -lr, value);
    value.bump_version();
  });
  model.clear_grads();
}

Result train_steps(models::Model& model, const Batch& batch, const Family& family, train::DataParallel* parallel) {
  Result r;
  for (int64_t step = 0; step < kSteps; ++step) {
    compute_gradients(model, batch, family.first_step + step, parallel, r);
    descend(model, family.lr);
  }
  return r;
}

void copy_state(models::Model& from, models::Model& to) {
  std::vector<Tensor> values;
  from.visit_parameters([&](const std::string&, nn::Parameter& p) { values.push_back(p.var.value()); });
  from.visit_buffers([&](const std::string&, nn::Buffer& b) { values.push_back(b.tensor); });
  size_t next = 0;
  to.visit_parameters([&](const std::string&, nn::Parameter& p) { Tensor(p.var.value()).copy_from(values[next++]); });
  to.visit_buffers([&](const std::string&, nn::Buffer& b) { b.tensor.copy_from(values[next++]); });
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
  for (const auto* values : {&a.losses, &a.gradient_norms, &b.losses, &b.gradient_norms})
    for (const double v : *values) REQUIRE(std::isfinite(v));
  for (size_t i = 0; i < a.losses.size(); ++i)
    c.loss = std::max(c.loss, std::abs(a.losses[i] - b.losses[i]) / std::abs(b.losses[i]));
  const size_t parameters = b.gradient_norms.size() / kSteps;
  for (size_t first = 0; first < b.gradient_norms.size(); first += parameters) {
    double all = 0;
    for (size_t i = first; i < first + parameters; ++i) all += std::pow(std::max(b.gradient_norms[i], 0.0), 2);
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
  Family family;
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

// Process `root`'s values, for all.
std::vector<double> broadcast(const std::vector<double>& values, int root, Device& device) {
  const auto count = test::world().all_gather(std::ssize(values))[static_cast<size_t>(root)];
  const Tensor t = test::world().rank() == root ? test::from_doubles({count}, values, DType::f64, device)
                                                : Tensor::empty({count}, DType::f64, device);
  test::world().broadcast(t, root);
  return test::to_doubles(t);
}

// What one process computes, every job by one process: they share them out.
std::vector<Result> train_alone(const std::vector<Job>& jobs, Device& device) {
  Communicator& world = test::world();
  const auto worker = [&](size_t job) { return static_cast<int>(job % static_cast<size_t>(world.size())); };
  std::vector<Result> results(jobs.size());
  for (size_t i = 0; i < jobs.size(); ++i)
    if (worker(i) == world.rank()) results[i] = train_alone(jobs[i], device);
  for (size_t i = 0; i < jobs.size(); ++i)
    results[i] = {broadcast(results[i].losses, worker(i), device),
                  broadcast(results[i].gradient_norms, worker(i), device)};
  return results;
}

// Every step from the weights that one process alone has there.
struct Lockstep {
  Result alone;
  std::vector<Result> together;  // of every split
};
Lockstep train_in_lockstep(const Job& job, const std::vector<Split>& splits, Device& device) {
  const Batch all = whole_batch(job.split.total, job.side(), job.dtype, job.ignored, device);
  const auto one = build(job.family, job.dtype, 1, device), several = build(job.family, job.dtype, 1, device);
  train::DataParallel parallel(*several, test::world(), job.options);
  Lockstep r{{}, std::vector<Result>(splits.size())};
  for (int64_t step = 0; step < kSteps; ++step) {
    for (size_t k = 0; k < splits.size(); ++k) {
      copy_state(*one, *several);
      parallel.broadcast_state();
      several->set_sample_share({.first = splits[k].first, .stride = splits[k].stride});
      compute_gradients(*several, {rows(all.x, splits[k]), rows(all.labels, splits[k])}, job.family.first_step + step,
                        &parallel, r.together[k]);
      several->clear_grads();
    }
    compute_gradients(*one, all, job.family.first_step + step, nullptr, r.alone);
    descend(*one, job.family.lr);
  }
  return r;
}

Job training(const Family& family, DType dtype, const Split& split) {
  return {.family = family,
          .dtype = dtype,
          .split = split,
          .options = {.loss_average = LossAverage::global, .bucket_bytes = 1 << 20}};
}

// Of both splits of two processes' images; other worlds have other images in the second.
std::vector<Split> splits_of_world() {
  const Communicator& world = test::world();
  const Split even = even_split(world.rank(), world.size()), uneven = uneven_split(world.rank(), world.size());
  return uneven.total == even.total ? std::vector<Split>{even, uneven} : std::vector<Split>{even};
}

void check_equal(const Job& job, const Result& together, const Result& alone) {
  const bool f64 = job.dtype == DType::f64;
  const Comparison c = compare(together, alone, f64 ? 1e-12 : 1e-6);
  std::vector<std::string> names;
  const auto meta = Device::create("meta");  // no memory: for the names
  nn::Init init(*meta, 1);
  models::build(Config::parse(std::string("[model]\n") + job.family.table, "test").table("model"), init)
      ->visit_parameters([&](const std::string& path, nn::Parameter&) { names.push_back(path); });
  const std::string name = job.family.name, worst = names[c.worst % names.size()];
  CAPTURE(name);
  CAPTURE(to_string(job.dtype));
  CAPTURE(job.split.count);
  CAPTURE(worst);
  CHECK(c.loss <= (f64 ? 1e-10 : 1e-5));
  CHECK(c.gradient <= (f64 ? 1e-10 : 1e-5));
  if (test::world().rank() == 0)
    MESSAGE(name, " ", to_string(job.dtype), " ", job.split.count, " of ", job.split.total, ": loss ", c.loss,
            ", gradient norms ", c.gradient, " (", worst, ", step ", c.worst / names.size(), ")");
}

// Three steps on end, of every split.
void check_equal(std::vector<Job> jobs, const std::vector<Split>& splits, Device& device) {
  const std::vector<Result> alone = train_alone(jobs, device);
  for (size_t i = 0; i < jobs.size(); ++i)
    for (const Split& split : splits) {
      jobs[i].split = split;
      check_equal(jobs[i], train_together(jobs[i], device), alone[i]);
    }
}
}  // namespace

TEST_CASE("several processes train as one process with all their samples") {
  const auto cpu = Device::create("cpu");
  const std::vector<Split> splits = splits_of_world();
  std::vector<Job> jobs;
  for (const Family& family : kFamilies) jobs.push_back(training(family, DType::f64, splits[0]));
  check_equal(jobs, splits, *cpu);
}

// Not a bit differs where this was written, but for the printed loss. With shared messages of batch norms gradients of
// some maps are added in another order (autograd/norm_group.h).
TEST_CASE("several processes train as one process in float32, with gradients summed by samples") {
  const auto cpu = Device::create("cpu");
  cpu->set_sums_by_sample(true);
  const std::vector<Split> splits = splits_of_world();
  std::vector<Job> jobs;
  for (const Family& family : kFamilies) {
    jobs.push_back(training(family, DType::f32, splits[0]));
    jobs.back().options.batched_norms = false;
  }
  check_equal(jobs, splits, *cpu);
}

// With sums of gradients as kernels have them, weights differ in last bits behind a step. From there on these untrained
// networks differ by up to 1e-2 in single norms (docs/scale_out.md).
TEST_CASE("several processes train as one process in float32, from the same weights in every step") {
  const auto cpu = Device::create("cpu");
  const std::vector<Split> splits = splits_of_world();
  for (const Family& family : kFamilies) {
    Job job = training(family, DType::f32, splits[0]);
    const Lockstep r = train_in_lockstep(job, splits, *cpu);
    for (size_t k = 0; k < splits.size(); ++k) {
      job.split = splits[k];
      check_equal(job, r.together[k], r.alone);
    }
  }
}

TEST_CASE("with the mean of each process's own loss, an ignored pixel weighs more where there are many") {
  Communicator& world = test::world();
  const auto cpu = Device::create("cpu");
  const auto job = [&](bool ignored) {
    return Job{.family = kFamilies[0],
               .dtype = DType::f64,
               .split = even_split(world.rank(), world.size()),
               .ignored = ignored,
               .options = {.loss_average = LossAverage::per_process}};
  };
  const std::vector<Result> alone = train_alone({job(false), job(true)}, *cpu);
  const auto difference = [&](bool ignored) {
    return compare(train_together(job(ignored), *cpu), alone[ignored ? 1 : 0], 1e-12).gradient;
  };
  CHECK(difference(false) <= 1e-10);  // equal numbers of pixels: the same mean
  if (world.size() > 1) CHECK(difference(true) > 1e-3);
}
