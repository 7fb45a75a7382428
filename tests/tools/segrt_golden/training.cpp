#include "tests/tools/segrt_golden/training.h"

#include <fmt/format.h>

#include <cmath>

#include "autograd/elementwise.h"
#include "core/error.h"
#include "kernels/elementwise.h"
#include "tests/support/golden.h"
#include "tests/support/tensors.h"
#include "tests/tools/segrt_golden/maps.h"
#include "tests/tools/segrt_golden/model_state.h"

namespace segrt::golden {
namespace {

// Three times the change that rounding noise in the parameters makes in the reference itself, and at least what the
// golden format states.
struct Tolerances {
  std::vector<double> losses;
  double gradient_l2 = 2e-3, gradient_entry = 5e-3, delta = 1e-2;
  double statistics = 5e-5, parameter = 1e-3;
};

Tolerances tolerances_of(GoldenFile& file, size_t losses) {
  Tolerances t;
  for (size_t i = 0; i < losses; ++i) t.losses.push_back(i == 0 ? 1e-5 : 1e-3);
  if (!file.has("perturbed_check")) return t;
  Fields noise = file.fields("perturbed_check");
  const auto loss_noise = noise.get<std::vector<double>>("losses_rel_diff");
  if (loss_noise.size() != losses)
    throw FileError(fmt::format("{}: perturbed_check: {} losses, expected {}", file.path(), loss_noise.size(), losses));
  for (size_t i = 0; i < losses; ++i) t.losses[i] = std::max(t.losses[i], 3 * loss_noise[i]);
  const double gradient = 3 * noise.get<double>("grad_norm_max_rel_diff");
  t.gradient_l2 = std::max(t.gradient_l2, gradient);
  t.gradient_entry = std::max(t.gradient_entry, gradient);
  t.delta = std::max(t.delta, 3 * noise.get<double>("delta_norm_max_rel_diff"));
  noise.skip("what");
  noise.check_used();
  return t;
}

// One batch and the loss of the network's heads on it.
class Batch {
 public:
  Batch(GoldenFile& file, models::Model& model, Device& device, DType precision = DType::f32);
  Var loss(models::Model& model) const;

 private:
  Tensor image_, target_;
  int ignore_index_;
};

Batch::Batch(GoldenFile& file, models::Model& model, Device& device, DType precision)
    : ignore_index_(file.get<int>("ignore_index")) {
  Fields input = file.fields("train_input");
  const auto name = input.get<std::string>("image");
  const auto shape = input.get<std::vector<int64_t>>("shape");
  const auto target = input.get<std::string>("target");
  input.skip("pool_size");  // belongs to the model
  input.check_used();
  const Tensor image = golden_input(name, shape, device);
  image_ = Tensor::empty(image.shape(), precision, device);
  kernels::cast(image, image_);
  const int64_t n = shape[0], h = shape[2], w = shape[3];
  const bool segmentation = model.task() == models::Task::segmentation;
  if (segmentation && target == "golden.labels(name, n, h, w, num_classes)") {
    const std::vector<int64_t> wide = labels(name, n, h, w, model.classes(), ignore_index_);
    target_ = Tensor::from<uint8_t>({n, h, w}, std::vector<uint8_t>(wide.begin(), wide.end()), device);
  } else if (!segmentation && target == "floor(u(name + '.class', n) * num_classes)") {
    target_ = Tensor::from<int64_t>({n}, classes_of(name, n, model.classes()), device);
  } else {
    throw FileError(file.path() + ": train_input: target: this program cannot make \"" + target + "\"");
  }
}

Var Batch::loss(models::Model& model) const {
  Var total;
  for (const models::Head& head : model.forward(image_)) {
    Var part;
    if (model.task() == models::Task::segmentation) {
      part = nn::segmentation_loss(head.scores, head.up, target_, {.ignore_index = ignore_index_}).loss;
    } else {
      if (head.scores.value().numel() != image_.dim(0) * model.classes())
        throw ArgumentError("training a classifier needs one cell an image, the scores are " +
                            to_string(head.scores.shape()));
      const Var scores = autograd::reshape(head.scores, {image_.dim(0), model.classes()});
      part = autograd::cross_entropy(scores, target_, {.ignore_index = -1, .class_weight = {}});  // none is ignored
    }
    part = autograd::scale(part, head.loss_weight);
    total = total.defined() ? autograd::add(total, part) : part;
  }
  return total;
}

double norm(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v * v;
  return std::sqrt(sum);
}

// Per trained parameter, in state order.
struct Norms {
  std::vector<std::string> without_gradient;
  std::vector<double> gradient, delta, parameter;
};

std::vector<std::vector<float>> snapshot(models::Model& model) {
  std::vector<std::vector<float>> values;
  model.visit_parameters([&](const std::string&, nn::Parameter& p) {
    if (p.trained) values.push_back(p.var.value().to_vector<float>());
  });
  return values;
}

void take_gradients(models::Model& model, Norms& norms) {
  model.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    if (!p.trained) return;
    const Tensor& gradient = p.var.grad();
    if (!gradient.defined()) norms.without_gradient.push_back(path);
    norms.gradient.push_back(gradient.defined() ? norm(test::to_doubles(gradient)) : 0.0);  // recorded as zero
  });
}

void take_steps(models::Model& model, const std::vector<std::vector<float>>& start, Norms& norms) {
  const std::vector<std::vector<float>> end = snapshot(model);
  for (size_t i = 0; i < end.size(); ++i) {
    std::vector<double> delta, value(end[i].begin(), end[i].end());
    for (size_t k = 0; k < end[i].size(); ++k) delta.push_back(static_cast<double>(end[i][k] - start[i][k]));
    norms.delta.push_back(norm(delta));
    norms.parameter.push_back(norm(value));
  }
}

std::vector<double> statistic_norms(models::Model& model) {
  std::vector<double> norms;
  model.visit_buffers([&](const std::string& path, nn::Buffer& b) {
    if (!path.ends_with("num_batches_tracked")) norms.push_back(norm(test::to_doubles(b.tensor)));
  });
  return norms;
}

struct Run {
  std::vector<double> losses, rates, statistics;
  Norms norms;
};

Run train(models::Model& model, const Batch& batch, const TrainingPlan& plan, Device& host) {
  Run run;
  model.set_training(true);
  const std::vector<std::vector<float>> start = snapshot(model);
  train::Sgd optimizer(model, plan.optimizer);
  Tensor counter = optimizer.step_counter();  // shares the optimizer's storage
  for (size_t i = 0; i < plan.schedule_steps.size(); ++i) {
    counter.copy_from(Tensor::from<int64_t>({1}, std::vector<int64_t>{plan.schedule_steps[i]}, host));
    const Var loss = batch.loss(model);
    run.losses.push_back(loss.value().item());
    if (i == 0) run.statistics = statistic_norms(model);
    backward(loss);
    if (i == 0) take_gradients(model, run.norms);
    optimizer.step();
    model.clear_grads();
    run.rates.push_back(optimizer.learning_rate().item());
  }
  const NoGrad no_grad(counter.device());
  run.losses.push_back(batch.loss(model).value().item());
  take_steps(model, start, run.norms);
  return run;
}

void check_losses(GoldenFile& file, const Run& run, const Tolerances& t, Report& report) {
  const std::vector<double> expected = file.values("losses");
  for (size_t i = 0; i < expected.size(); ++i)
    report.entries(fmt::format("losses[{}]", i), {run.losses[i]}, {expected[i]}, t.losses[i], {});
  report.entries("loss", {run.losses[0]}, file.values("loss"), t.losses[0], {});
}
std::unique_ptr<models::Model> training_model(GoldenFile& file, const NetworkRules& rules, Device& device) {
  Fields input = file.fields("train_input");
  std::vector<std::string> overrides;
  if (const Json& pool = input.raw("pool_size"); pool.is_number_integer())
    overrides.push_back("model.pool_size=" + pool.dump());
  else if (pool != "as built")
    throw FileError(file.path() + ": train_input: pool_size: expected a number or \"as built\", got " + pool.dump());
  return build_model(file, rules, device, overrides);
}
}  // namespace

double first_loss(GoldenFile& file, const NetworkRules& rules, Device& device, DType precision) {
  const NoGrad no_grad(device);
  const std::unique_ptr<models::Model> model = training_model(file, rules, device);
  model->set_training(true);
  return Batch(file, *model, device, precision).loss(*model).value().item();
}

void run_training(GoldenFile& file, const NetworkRules& rules, Device& device, Report& report) {
  file.skip("train");  // the procedure above in words
  const std::unique_ptr<models::Model> model = training_model(file, rules, device);
  Fields recipe = file.fields("train_recipe");
  const TrainingPlan plan = rules.training_plan(recipe);

  const Run run = train(*model, Batch(file, *model, device), plan, file.host());
  const size_t updates = plan.schedule_steps.size();
  if (file.shape("losses") != std::vector<int64_t>{static_cast<int64_t>(updates) + 1})
    throw FileError(fmt::format("{}: losses: expected {} for {} updates", file.path(), updates + 1, updates));
  const Tolerances t = tolerances_of(file, updates + 1);

  std::vector<double> rates;
  for (const int64_t step : plan.schedule_steps) rates.push_back(kernels::learning_rate(plan.optimizer.schedule, step));
  report.entries("lr", rates, file.values("lr"), 1e-12, {});
  report.entries("lr on the device", run.rates, file.values("lr"), 1e-7, {});  // rounded to float32
  check_losses(file, run, t, report);
  report.entries("step1.buffer_norm", run.statistics, file.values("step1.buffer_norm"), t.statistics,
                 statistic_names(*model));
  report.identical("params_without_gradient", run.norms.without_gradient,
                   file.get<std::vector<std::string>>("params_without_gradient"));
  const std::vector<std::string> names = trained_names(*model);
  const std::vector<double> gradient = file.values("grad_norm");
  report.relative_l2("grad_norm", run.norms.gradient, gradient, t.gradient_l2);
  report.entries("grad_norm", run.norms.gradient, gradient, t.gradient_entry, names);
  const std::string last = fmt::format("step{}.", updates);
  report.entries(last + "delta_norm", run.norms.delta, file.values(last + "delta_norm"), t.delta, names);
  report.entries(last + "param_norm", run.norms.parameter, file.values(last + "param_norm"), t.parameter, names);
}

}  // namespace segrt::golden
