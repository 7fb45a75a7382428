#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "autograd/elementwise.h"
#include "core/error.h"
#include "kernels/elementwise.h"
#include "nn/state.h"
#include "tests/support/golden.h"
#include "tests/support/tensors.h"
#include "tests/tools/segrt_golden/dynamic_routing.h"
#include "tests/tools/segrt_golden/maps.h"
#include "tests/tools/segrt_golden/model_state.h"
#include "tests/tools/segrt_golden/sensitivity.h"

namespace segrt::golden {
namespace {
using models::DynamicRouting;

// Step rates are shares of this many steps, so that a stored rate like 0.41 is met exactly enough.
constexpr int64_t kSteps = 1'000'000'000;

struct Batch {
  Tensor image, target;
  int ignore_index;
};

Batch make_batch(GoldenFile& file, int classes, Device& device, DType precision = DType::f32) {
  Fields input = file.fields("train_input");
  const auto shape = input.get<std::vector<int64_t>>("shape");
  const auto label_name = input.get<std::string>("labels");
  const int ignore = file.get<int>("ignore_index");
  const int64_t n = shape[0], h = shape[2], w = shape[3];
  const std::vector<int64_t> wide = labels(label_name, n, h, w, classes, ignore);
  const Tensor image = golden_input(input.get<std::string>("name"), shape, device);
  Batch batch{Tensor::empty(image.shape(), precision, device),
              Tensor::from<uint8_t>({n, h, w}, std::vector<uint8_t>(wide.begin(), wide.end()), device), ignore};
  kernels::cast(image, batch.image);
  input.check_used();
  return batch;
}

struct Losses {
  Var semantic, budget, total;  // budget undefined where it does not exist
  models::Head head;
};

Losses forward(DynamicRouting& model, const Batch& batch, int64_t step, int64_t total_steps) {
  model.begin_step(step, total_steps);
  Losses losses;
  losses.head = model.forward(batch.image).front();
  losses.semantic =
      nn::segmentation_loss(losses.head.scores, losses.head.up, batch.target, {.ignore_index = batch.ignore_index})
          .loss;
  losses.total = losses.semantic;
  for (const models::AuxiliaryLoss& loss : model.auxiliary_losses()) {
    losses.budget = loss.value;
    losses.total = autograd::add(losses.total, loss.value);
  }
  return losses;
}

double value_or_nan(const Var& v) { return v.defined() ? v.value().item() : std::nan(""); }

double norm(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v * v;
  return std::sqrt(sum);
}

// The masks of the drop path: a uniform number a sample from a name.
void set_drop_uniforms(DynamicRouting& model) {
  model.drop_uniforms = [](int cell, int64_t batch) {
    const std::vector<double> u = uniforms(fmt::format("sdp.{}", cell), batch);
    return u;
  };
}

std::unique_ptr<models::Model> training_model(const BuildNetwork& build) {
  std::unique_ptr<models::Model> model = build();
  model->set_training(true);
  set_drop_uniforms(dynamic_cast<DynamicRouting&>(*model));
  return model;
}

void check_budget(GoldenFile& file, const BuildNetwork& build, const Batch& batch, Report& report) {
  const std::unique_ptr<models::Model> model = training_model(build);
  auto& network = dynamic_cast<DynamicRouting&>(*model);
  const std::vector<double> rates = file.values("budget.step_rate");
  const NoGrad no_grad(batch.image.device());
  forward(network, batch, kSteps / 2, kSteps);  // the gates do not depend on the rate
  std::vector<double> got;
  for (const double rate : rates) {
    network.begin_step(std::llround(rate * kSteps), kSteps);
    const auto losses = network.auxiliary_losses();
    got.push_back(losses.empty() ? std::nan("") : losses.front().value.value().item());
  }
  const std::vector<double> expected = file.values("budget.loss");
  double largest = 1e-12;
  for (const double v : expected)
    if (!std::isnan(v)) largest = std::max(largest, std::abs(v));
  compare_with_gaps("budget.loss", got, expected, 1e-5 * largest, report);
}

// Everything of the first step that has a tolerance of its own.
Results first_step(GoldenFile& file, models::Model& model, const Batch& batch) {
  model.set_training(true);
  set_drop_uniforms(dynamic_cast<DynamicRouting&>(model));
  auto& network = dynamic_cast<DynamicRouting&>(model);
  const double rate = file.fields("options").get<double>("train_step_rate");
  const Losses losses = forward(network, batch, std::llround(rate * kSteps), kSteps);
  Results r;
  const models::Routing routing = network.routing();
  r["train.gate.pre"] = routing_grid(routing, false);
  r["train.gate.value"] = routing_grid(routing, true);
  const auto [height, width] = network.options().flops_size;
  double expected = 0, real = 0;
  for (const double v : test::to_doubles(network.expected_mflops().value()))
    expected += v / static_cast<double>(batch.image.dim(0));
  for (const models::SampleGates& gates : routing.samples)
    real += network.real_mflops(gates, height, width) / static_cast<double>(batch.image.dim(0));
  r["train.flops.expt"] = {expected};
  r["train.flops.real"] = {real};
  r["train.pred"] = subsample(nchw(losses.head.scores.value(), file.host()),
                              file.fields("strides").get<int64_t>("train.pred", int64_t{1}));
  r["loss"] = {losses.total.value().item()};
  r["loss.sem_seg"] = {losses.semantic.value().item()};
  r["loss.budget"] = {value_or_nan(losses.budget)};
  std::vector<double>& statistics = r["bn_after_norm"];  // of every norm, in state order
  network.visit_buffers([&](const std::string& path, nn::Buffer& b) {
    if (path.ends_with("running_mean") || path.ends_with("running_var"))
      statistics.push_back(norm(test::to_doubles(b.tensor)));
  });
  backward(losses.total);
  std::vector<double>& norms = r["grad_norm"];
  network.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    const Tensor& gradient = p.var.grad();
    norms.push_back(gradient.defined() ? norm(test::to_doubles(gradient)) : 0.0);
    const std::string stored = "grad." + path;
    if (!file.contains(stored)) return;
    const Tensor upstream = nn::to_upstream_layout(gradient.to(file.host()));
    r[stored] = subsample(upstream, file.fields("strides").get<int64_t>(stored, int64_t{1}));
  });
  r["grad_norm.total"] = {norm(norms)};
  return r;
}

void check_first_step(GoldenFile& file, const BuildNetwork& build, const Batch& batch, Report& report) {
  const std::unique_ptr<models::Model> model = build();
  const Results r = first_step(file, *model, batch);
  const Sensitivity::Compute compute = [&](models::Model& m) { return first_step(file, m, batch); };
  Sensitivity s(build, compute, r);
  for (const auto& [name, stated] : {std::pair{"train.gate.pre", 2e-5}, {"train.gate.value", 1e-5}})
    compare_with_gaps(name, r.at(name), file.values(name), s.max_error(name, file.values(name), stated, 1e-3), report);
  report.entries("train.flops.expt", r.at("train.flops.expt"), file.values("train.flops.expt"), 1e-5, {});
  report.entries("train.flops.real", r.at("train.flops.real"), file.values("train.flops.real"), 2e-6, {});
  report.relative_l2("train.pred", r.at("train.pred"), file.values("train.pred"),
                     s.relative_l2("train.pred", file.values("train.pred"), 1e-4, 2e-3));
  const std::vector<double> total = file.values("loss");
  report.entries("loss", r.at("loss"), total, 2e-6, {});
  report.entries("loss.sem_seg", r.at("loss.sem_seg"), file.values("loss.sem_seg"), 2e-6, {});
  compare_with_gaps("loss.budget", r.at("loss.budget"), file.values("loss.budget"), 2e-6 * total[0], report);
  report.entries("bn_after_norm", r.at("bn_after_norm"), file.values("bn_after_norm"), 1e-4, {});

  const std::vector<double> expected = file.values("grad_norm");
  for (const auto& [name, values] : r)
    if (name.starts_with("grad."))
      report.relative_l2(name, values, file.values(name), s.relative_l2(name, file.values(name), 5e-2, 0.5));
  report.relative_l2("grad_norm", r.at("grad_norm"), expected, s.relative_l2("grad_norm", expected, 1e-3, 5e-2));
  report.entries("grad_norm.total", r.at("grad_norm.total"), file.values("grad_norm.total"),
                 s.relative_l2("grad_norm.total", file.values("grad_norm.total"), 1e-3, 5e-2), {});
  // A gradient that is zero but for rounding (a norm's bias in front of another norm) has no relative error.
  const double rounding = 1e-5 * norm(expected);
  std::vector<double> got = r.at("grad_norm"), wanted = expected;
  for (size_t i = 0; i < got.size(); ++i) {
    got[i] += rounding;
    wanted[i] += rounding;
  }
  report.entries("grad_norm", got, wanted, s.entries("grad_norm", expected, rounding, 5e-2, 0.5),
                 trained_names(dynamic_cast<DynamicRouting&>(*model)));
}

train::Sgd::Options optimizer_options(Fields& s) {
  train::Sgd::Options o;
  o.schedule = {.kind = kernels::LrSchedule::Kind::poly,
                .base = s.get<double>("base_lr"),
                .power = s.get<double>("power"),
                .total = s.get<int64_t>("max_iter"),
                .warmup_steps = s.get<int64_t>("warmup_iters"),
                .warmup_factor = s.get<double>("warmup_factor")};
  o.sgd.momentum = s.get<float>("momentum");
  o.weight_decay = s.get<double>("weight_decay");
  if (s.get<double>("weight_decay_bias") != o.weight_decay || s.get<double>("weight_decay_norm") != 0)
    throw FileError("schedules: this program knows biases decayed like weights, and norms not at all");
  o.no_decay = {"norm.weight", "norm.bias"};
  if (const auto factor = s.get<double>("gate_lr_multi"); factor != 1) o.lr_factors = {{"gate_conv", factor}};
  o.clip_norm = s.get<double>("grad_clip_l2");
  return o;
}

std::vector<std::vector<float>> snapshot(models::Model& model) {
  std::vector<std::vector<float>> values;
  model.visit_parameters(
      [&](const std::string&, nn::Parameter& p) { values.push_back(p.var.value().to_vector<float>()); });
  return values;
}

// The changes since `start`, one norm a parameter.
std::vector<double> changes(models::Model& model, const std::vector<std::vector<float>>& start) {
  const std::vector<std::vector<float>> end = snapshot(model);
  std::vector<double> norms;
  for (size_t i = 0; i < end.size(); ++i) {
    std::vector<double> delta;
    for (size_t k = 0; k < end[i].size(); ++k)
      delta.push_back(static_cast<double>(end[i][k]) - static_cast<double>(start[i][k]));
    norms.push_back(norm(delta));
  }
  return norms;
}

struct Schedule {
  int64_t first, total;
  train::Sgd::Options options;
};

// Three updates from the stored state: losses by row, gradient norms by step, rates, and the changes of the parameters.
Results trajectory(models::Model& model, const Schedule& schedule, const Batch& batch, Device& host) {
  model.set_training(true);
  auto& network = dynamic_cast<DynamicRouting&>(model);
  set_drop_uniforms(network);
  const std::vector<std::vector<float>> start = snapshot(network);
  train::Sgd optimizer(network, schedule.options);
  Tensor counter = optimizer.step_counter();
  counter.copy_from(Tensor::from<int64_t>({1}, std::vector<int64_t>{schedule.first}, host));
  Results r;
  const auto keep = [&](int64_t row, const Losses& l) {
    for (const Var& v : {l.semantic, l.budget, l.total}) r[fmt::format("loss[{}]", row)].push_back(value_or_nan(v));
  };
  for (int64_t i = 0; i < 3; ++i) {
    const Losses l = forward(network, batch, schedule.first + i, schedule.total);
    keep(i, l);
    backward(l.total);
    optimizer.step();
    network.clear_grads();
    r[fmt::format("grad_total[{}]", i)] = {optimizer.gradient_norm().item()};
    const auto& factors = schedule.options.lr_factors;
    const double rate = optimizer.learning_rate().item(), factor = factors.empty() ? 1.0 : factors.front().second;
    r["lr"].push_back(std::min(rate, rate * factor));
    r["lr"].push_back(std::max(rate, rate * factor));
  }
  {
    const NoGrad no_grad(batch.image.device());
    keep(3, forward(network, batch, schedule.first + 3, schedule.total));
  }
  r["delta_norm"] = changes(network, start);
  return r;
}

// Rounding grows ten- to a hundredfold a step at full learning rate, so later rows are held to less.
void check_trajectory(GoldenFile& file, const std::string& name, const BuildNetwork& build, const Batch& batch,
                      Report& report) {
  Fields fields(file.fields("schedules").raw(name), file.path() + ": schedules: " + name);
  fields.skip("config");
  fields.skip("smallest_gate_margin");
  const Schedule schedule{fields.get<int64_t>("first_iter"), fields.get<int64_t>("max_iter"),
                          optimizer_options(fields)};
  fields.check_used();
  const Sensitivity::Compute compute = [&](models::Model& m) { return trajectory(m, schedule, batch, file.host()); };
  const Results r = compute(*build());
  Sensitivity s(build, compute, r);
  report.entries(name + ".lr", r.at("lr"), file.values(name + ".lr"), 1e-6, {});
  const std::vector<double> losses = file.values(name + ".loss"), totals = file.values(name + ".grad_total");
  constexpr double kLoss[] = {2e-6, 3e-5, 2e-3, 5e-3}, kNorm[] = {1e-3, 3e-2, 0.3};
  for (size_t row = 0; row < 4; ++row) {
    const std::string own = fmt::format("loss[{}]", row);
    const auto begin = losses.begin() + static_cast<int64_t>(3 * row);
    const double stated = kLoss[row] * losses[3 * row + 2];
    const std::vector<double> wanted(begin, begin + 3);
    compare_with_gaps(name + "." + own, r.at(own), wanted, s.max_error(own, wanted, stated, 0.5), report);
  }
  for (size_t i = 0; i < 3; ++i) {
    const std::string own = fmt::format("grad_total[{}]", i);
    report.entries(name + "." + own, r.at(own), {totals[i]},
                   s.relative_l2(own, {totals[i]}, kNorm[i], i == 0 ? 5e-2 : 5), {});
  }
  report.relative_l2(name + ".delta_norm", r.at("delta_norm"), file.values(name + ".delta_norm"),
                     s.relative_l2("delta_norm", file.values(name + ".delta_norm"), 2e-2, 0.5));
}
}  // namespace

double first_dynamic_loss(GoldenFile& file, Device& device, DType precision) {
  const NoGrad no_grad(device);
  const std::unique_ptr<models::Model> model = kDynamicRouting.network(file, device);
  model->set_training(true);
  auto& network = dynamic_cast<DynamicRouting&>(*model);
  set_drop_uniforms(network);
  const double rate = file.fields("options").get<double>("train_step_rate");
  const Batch batch = make_batch(file, file.get<int>("num_classes"), device, precision);
  return forward(network, batch, std::llround(rate * kSteps), kSteps).total.value().item();
}

void run_dynamic_training(GoldenFile& file, const BuildNetwork& build, Device& device, Report& report) {
  const Batch batch = make_batch(file, file.get<int>("num_classes"), device);
  check_first_step(file, build, batch, report);
  check_budget(file, build, batch, report);
  for (const std::string& name : file.fields("schedules").keys()) check_trajectory(file, name, build, batch, report);
}

}  // namespace segrt::golden
