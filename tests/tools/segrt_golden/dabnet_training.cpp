#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "kernels/elementwise.h"
#include "nn/layers.h"
#include "nn/state.h"
#include "tests/support/golden.h"
#include "tests/support/tensors.h"
#include "tests/tools/segrt_golden/dabnet.h"
#include "tests/tools/segrt_golden/maps.h"
#include "tests/tools/segrt_golden/model_state.h"
#include "tests/tools/segrt_golden/sensitivity.h"
#include "train/network_loss.h"

namespace segrt::golden {
namespace {
// A gradient that is this small in float64 is zero: of a bias that only a batch norm sees.
constexpr double kZeroGradient = 1e-9;

struct Batch {
  Tensor image, labels;
  int ignore_index;
};

Batch make_batch(GoldenFile& file, Device& device) {
  const std::string name = file.text("input_name");
  const auto shape = file.get<std::vector<int64_t>>("label_shape");
  const int ignore = file.get<int>("ignore_index");
  const std::vector<int64_t> wide =
      labels(name, shape.at(0), shape.at(1), shape.at(2), file.get<int64_t>("num_classes"), ignore);
  return {golden_input(name, file.get<std::vector<int64_t>>("input_shape"), device),
          Tensor::from<uint8_t>(Shape(shape), std::vector<uint8_t>(wide.begin(), wide.end()), device), ignore};
}

// One training pass with momentum 1 leaves the batch's statistics, which are those that the file stores.
void check_calibration(GoldenFile& file, models::Model& model, const Batch& batch, Report& report) {
  calibrate(model, batch.image);
  std::map<std::string, std::pair<double, std::string>> worst{{"running_mean", {}}, {"running_var", {}}};
  model.visit_buffers([&](const std::string& path, nn::Buffer& b) {
    const auto found = worst.find(path.substr(path.rfind('.') + 1));
    if (found == worst.end()) return;
    const double error = test::relative_l2(b.tensor, file.values("state." + path));
    if (!(error <= found->second.first)) found->second = {error, path};
  });
  for (const auto& [leaf, at] : worst)
    report.error("calibrated " + leaf, "worst relative L2", at.first, 1e-4, at.second);
}

train::Optimizer::Options optimizer_options(GoldenFile& file) {
  Fields recipe = file.fields("optimizer"), rates = file.fields("lr_config");
  train::Optimizer::Options o;
  const auto type = recipe.get<std::string>("type");
  if (type == "SGD") {
    o.sgd.momentum = recipe.get<float>("momentum");
    o.weight_decay = recipe.get<double>("weight_decay");
  } else if (type == "Adam") {
    o.kind = train::Optimizer::Kind::adam;
    const auto betas = recipe.get<std::vector<double>>("betas");
    o.adam.beta1 = betas.at(0);
    o.adam.beta2 = betas.at(1);
  } else {
    throw FileError(file.path() + ": optimizer: expected SGD or Adam, got " + type);
  }
  if (rates.get<std::string>("policy") != "poly" || rates.get<bool>("by_epoch"))
    throw FileError(file.path() + ": lr_config: expected poly by iteration");
  o.schedule = {.kind = kernels::LrSchedule::Kind::poly,
                .base = recipe.get<double>("lr"),
                .power = rates.get<double>("power"),
                .total = file.get<int64_t>("max_iters"),
                .end_lr = rates.get<double>("min_lr")};
  if (rates.has("warmup")) {
    if (rates.get<std::string>("warmup") != "linear") throw FileError(file.path() + ": lr_config: warmup: not linear");
    o.schedule.warmup_steps = rates.get<int64_t>("warmup_iters");
    o.schedule.warmup_factor = rates.get<double>("warmup_ratio", 0.1);
  }
  recipe.check_used();
  rates.check_used();
  return o;
}

struct Run {
  std::vector<double> losses, gradient;
  std::vector<std::pair<std::string, double>> parts;
  std::map<std::string, Tensor> state;  // after the steps, in upstream layout
};

Run train_three_steps(models::Model& model, const Batch& batch, const train::Optimizer::Options& options,
                      Device& host) {
  Run run;
  model.set_training(true);
  const std::unique_ptr<train::Optimizer> optimizer = train::Optimizer::create(model, options);
  for (int step = 0; step < 4; ++step) {
    const train::NetworkLoss loss =
        train::network_loss(model, batch.image, batch.labels, {.ignore_index = batch.ignore_index});
    run.losses.push_back(loss.total.value().item());
    if (step == 3) break;  // the running statistics have seen this fourth pass too
    backward(loss.total);
    if (step == 0) {
      for (const models::AuxiliaryLoss& part : loss.auxiliary)
        run.parts.emplace_back(part.name, part.value.value().item());
      run.gradient = gradient_norms(model);
    }
    optimizer->step();
    model.clear_grads();
  }
  for (const NamedTensor& t : nn::state_dict(model, host)) run.state[t.name] = t.tensor;
  return run;
}

// How far the reference's float32 runs stray from float64 in `row`: as recorded, else that of the run in the file.
std::vector<double> noise_of(GoldenFile& file, const std::string& row, std::vector<double> of_file) {
  return file.has("fp32_noise") ? recorded_noise(file, row) : of_file;
}

double relative(double got, double expected) { return std::abs(got - expected) / std::max(std::abs(expected), 1e-30); }

void check_losses(GoldenFile& file, const Run& run, int64_t pixels, Report& report) {
  const std::vector<double> exact = file.values("loss_trajectory_f64"), own = file.values("loss_trajectory");
  constexpr double kStated[] = {1e-6, 5e-5, 1e-3, 3e-3};
  std::vector<double> noise;
  for (size_t i = 0; i < 4; ++i) noise.push_back(relative(own.at(i), exact.at(i)));
  noise = noise_of(file, "loss_trajectory", noise);
  for (size_t i = 0; i < 4; ++i)
    report.error(fmt::format("loss after {} steps", i), "relative", relative(run.losses[i], exact[i]),
                 std::max(kStated[i], kRoom * noise.at(i)), fmt::format("the reference's float32 {:.1e}", noise[i]));
  report.error("loss", "relative", relative(run.losses[0], file.values("loss").at(0)), 1e-6);

  const auto names = file.get<std::vector<std::string>>("loss_part_names");
  const std::vector<double> parts = file.values("loss_parts"), none(names.size(), 0.0);
  const std::vector<double> strays =
      file.has("fp32_noise") ? file.fields("fp32_noise").get<std::vector<double>>("accuracies", none) : none;
  for (size_t i = 0; i < names.size(); ++i) {
    const bool known = i < run.parts.size() && run.parts[i].first == names[i];
    if (!known) {
      report.fail(names[i], "the network reports no such part here");
    } else if (names[i].ends_with("acc_seg")) {  // rounding may decide pixels whose classes tie
      const double three_pixels = 300.0 / static_cast<double>(pixels) + 1e-5;
      report.max_abs(names[i], {run.parts[i].second}, {parts.at(i)}, std::max(three_pixels, kRoom * strays.at(i / 2)));
    } else {
      report.error(names[i], "relative", relative(run.parts[i].second, parts.at(i)), 1e-5);
    }
  }
}

// The entries whose expected value is not zero.
std::vector<double> where_not_zero(const std::vector<double>& values, const std::vector<double>& expected) {
  std::vector<double> some;
  for (size_t i = 0; i < expected.size(); ++i)
    if (expected[i] >= kZeroGradient) some.push_back(values.at(i));
  return some;
}

double largest_zero(const std::vector<double>& values, const std::vector<double>& expected) {
  double largest = 0;
  for (size_t i = 0; i < expected.size(); ++i)
    if (expected[i] < kZeroGradient) largest = std::max(largest, values.at(i));
  return largest;
}

double worst_relative(const std::vector<double>& got, const std::vector<double>& expected) {
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) worst = std::max(worst, relative(got[i], expected[i]));
  return worst;
}

// The first step's loss and gradients.
Results first_step(models::Model& model, const Batch& batch) {
  model.set_training(true);
  const train::NetworkLoss loss =
      train::network_loss(model, batch.image, batch.labels, {.ignore_index = batch.ignore_index});
  backward(loss.total);
  return {{"loss", {loss.total.value().item()}}, {"grad_norm", gradient_norms(model)}};
}

// In float64 against the file's float64 values: the formulas. Interpolation weights are float32 here all the same.
void check_exact(GoldenFile& file, const NetworkOnDevice& network, Batch batch, Report& report) {
  const std::unique_ptr<models::Model> model = network.build(file.host());
  make_float64(*model);
  Tensor image = Tensor::empty(batch.image.shape(), DType::f64, file.host());
  kernels::cast(batch.image.to(file.host()), image);
  batch.image = image;
  batch.labels = batch.labels.to(file.host());
  const Results r = first_step(*model, batch);
  report.error("loss (f64)", "relative", relative(r.at("loss")[0], file.values("loss_trajectory_f64").at(0)), 1e-7);
  const std::vector<double> expected = file.values("grad_norm_f64"), norms = r.at("grad_norm");
  if (norms.size() != expected.size()) return report.fail("grad_norm (f64)", "another number of parameters");
  report.entries("grad_norm (f64)", where_not_zero(norms, expected), where_not_zero(expected, expected), 1e-6, {});
  report.error("grad_norm (f64), zeros", "largest", largest_zero(norms, expected), 1e-9);
}

// In float32. Batch norms over a handful of pooled values magnify rounding by a factor of each network's own, which
// all gradients before them share; see Sensitivity.
void check_gradients(GoldenFile& file, const NetworkOnDevice& network, const Batch& batch, const Run& run,
                     Report& report) {
  const std::vector<double> all = file.values("grad_norm_f64"), own_all = file.values("grad_norm");
  if (all.size() != run.gradient.size()) return report.fail("grad_norm", "another number of parameters");
  const std::vector<double> expected = where_not_zero(all, all), own = where_not_zero(own_all, all);
  const Results exact{{"grad_norm", where_not_zero(run.gradient, all)}};
  const BuildNetwork build = [&] { return network.build(network.device); };
  const Sensitivity::Compute compute = [&](models::Model& m) {
    return Results{{"grad_norm", where_not_zero(first_step(m, batch).at("grad_norm"), all)}};
  };
  Sensitivity s(build, compute, exact);
  const std::vector<double>& got = exact.at("grad_norm");
  const std::vector<double> noise =
      noise_of(file, "grad_norm", {worst_relative(own, expected), median_relative_error(own, expected)});
  const double own_worst = noise.at(0), own_median = noise.at(1);
  report.error("grad_norm, worst", "relative", worst_relative(got, expected),
               s.entries("grad_norm", expected, 0, std::max(5e-3, kRoom * own_worst), 2e-2),
               fmt::format("the reference's float32 {:.1e}", own_worst));
  report.error("grad_norm, median", "relative", median_relative_error(got, expected),
               s.median("grad_norm", expected, std::max(2e-4, kRoom * own_median), 2e-3),
               fmt::format("the reference's float32 {:.1e}", own_median));
  report.error(fmt::format("grad_norm, {} zeros", all.size() - expected.size()), "largest",
               largest_zero(run.gradient, all), 1e-6);
}

void check_state(GoldenFile& file, const Run& run, const train::Optimizer::Options& o,
                 const std::vector<std::string>& names, Report& report) {
  const std::vector<double> exact_gradient = file.values("grad_norm_f64");
  const auto is_zero = [&](const std::string& name) {
    const auto found = std::find(names.begin(), names.end(), name);
    return found != names.end() && exact_gradient.at(static_cast<size_t>(found - names.begin())) < kZeroGradient;
  };
  const bool adam = o.kind != train::Optimizer::Kind::sgd;
  double rates = 0;
  for (int64_t t = 0; t < 3; ++t) rates += kernels::learning_rate(o.schedule, t);
  for (const std::string& row : file.tensors_with_prefix("after3.")) {
    const std::string name = row.substr(7), exact_row = "after3_f64." + name;
    if (!run.state.contains(name)) {
      report.fail(row, "the network has no such tensor");
      continue;
    }
    const std::vector<double> got = test::to_doubles(run.state.at(name)), own = file.values(row);
    if (!file.contains(exact_row)) {
      report.relative_l2(row, got, own, adam ? 1e-2 : 1e-4);
      continue;
    }
    const std::vector<double> exact = file.values(exact_row);
    if (adam && is_zero(name))  // noise, normalised: a random walk of at most the rate a step
      report.max_abs(row, got, exact, 2.1 * rates);
    else {
      const double noise = noise_of(file, row, {test::relative_l2(own, exact)}).at(0);
      report.error(row, "relative L2", test::relative_l2(got, exact), std::max(1e-6, kRoom * noise),
                   fmt::format("the reference's float32 {:.1e}", noise));
    }
  }
}
}  // namespace

double dabnet_loss(GoldenFile& file, const NetworkOnDevice& network, DType precision) {
  const NoGrad no_grad(network.device);
  Batch batch = make_batch(file, network.device);
  Tensor image = Tensor::empty(batch.image.shape(), precision, network.device);
  kernels::cast(batch.image, image);
  const std::unique_ptr<models::Model> model = network.build(network.device);
  model->set_training(true);
  return train::network_loss(*model, image, batch.labels, {.ignore_index = batch.ignore_index}).total.value().item();
}

void run_dabnet_training(GoldenFile& file, const NetworkOnDevice& network, Report& report) {
  const Batch batch = make_batch(file, network.device);
  check_calibration(file, *network.build(network.device), batch, report);
  check_exact(file, network, batch, report);
  const train::Optimizer::Options options = optimizer_options(file);
  std::vector<double> rates;
  for (int64_t t = 0; t < 3; ++t) rates.push_back(kernels::learning_rate(options.schedule, t));
  report.entries("lr", rates, file.get<std::vector<double>>("lr"), 1e-12, {});

  const std::unique_ptr<models::Model> model = network.build(network.device);
  const Run run = train_three_steps(*model, batch, options, file.host());
  const std::vector<std::string> names = trained_names(*model);
  check_losses(file, run, batch.labels.numel(), report);
  check_gradients(file, network, batch, run, report);
  check_state(file, run, options, names, report);
}

}  // namespace segrt::golden
