#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "autograd/elementwise.h"
#include "autograd/loss.h"
#include "core/error.h"
#include "tests/support/golden.h"
#include "tests/support/tensors.h"
#include "tests/tools/segrt_golden/dgmn2.h"
#include "tests/tools/segrt_golden/maps.h"
#include "tests/tools/segrt_golden/model_state.h"
#include "train/network_loss.h"

namespace segrt::golden {
namespace {
// Norms below this share of the largest are zero but for rounding: of biases that only a batch norm sees.
constexpr double kZeroShare = 1e-4, kZeroNoise = 5e-7;

struct Batch {
  Tensor image, labels;  // labels: u8 [N,H,W], or what an image of a classifier is to be, [N,1,1,classes]
};

bool classifies(GoldenFile& file) { return file.text("model").ends_with("classifier"); }

// 0.7 of two classes' one-hot vectors with smoothing 0.1 and 0.3 of the same in reverse, and the images likewise.
Batch mixed_batch(const Tensor& image, int64_t classes) {
  constexpr double kShare = 0.7, kOn = 0.9001, kOff = 0.0001;
  constexpr size_t kClasses[] = {123, 907};
  const std::vector<double> pixels = test::to_doubles(image);
  const size_t half = pixels.size() / 2, count = static_cast<size_t>(classes);
  std::vector<double> mixed(pixels.size()), targets(2 * count);
  for (size_t i = 0; i < pixels.size(); ++i)
    mixed[i] = kShare * pixels[i] + (1 - kShare) * pixels[i < half ? i + half : i - half];
  for (size_t n = 0; n < 2; ++n)
    for (size_t c = 0; c < count; ++c)
      targets[n * count + c] =
          kShare * (c == kClasses[n] ? kOn : kOff) + (1 - kShare) * (c == kClasses[1 - n] ? kOn : kOff);
  return {test::from_doubles(image.shape(), mixed, image.dtype(), image.device()),
          test::from_doubles({2, 1, 1, classes}, targets, image.dtype(), image.device())};
}

Batch make_batch(GoldenFile& file, Device& device, DType precision) {
  Fields fields = file.fields("input");
  const auto name = fields.get<std::string>("name");
  const auto shape = fields.get<std::vector<int64_t>>("train_shape");
  const Tensor image = in_type(golden_input(name, shape, device), precision, device);
  const auto classes = file.get<int64_t>("num_classes");
  if (classifies(file)) return mixed_batch(image, classes);
  const std::vector<int64_t> wide = labels(name, shape[0], shape[2], shape[3], classes);
  return {image, Tensor::from<uint8_t>({shape[0], shape[2], shape[3]}, std::vector<uint8_t>(wide.begin(), wide.end()),
                                       device)};
}

Var loss_of(models::Model& model, const Batch& batch) {
  model.set_training(true);
  if (model.task() == models::Task::segmentation)
    return train::network_loss(model, batch.image, batch.labels, {.ignore_index = 255}).total;
  const Var log_probabilities = autograd::log_softmax(model.forward(batch.image).front().scores);
  return autograd::scale(autograd::sum(autograd::mul(log_probabilities, batch.labels)),
                         -1.0 / static_cast<double>(batch.image.dim(0)));
}

train::Optimizer::Options optimizer_options(GoldenFile& file, models::Model& model) {
  Fields recipe = file.fields("optimizer");
  for (const char* words : {"schedule", "grad_clip"}) recipe.skip(words);
  train::Optimizer::Options o;
  if (recipe.get<std::string>("type") != "AdamW") throw FileError(file.path() + ": optimizer: expected AdamW");
  o.kind = train::Optimizer::Kind::adamw;
  const auto betas = recipe.get<std::vector<double>>("betas");
  o.adam.beta1 = betas.at(0);
  o.adam.beta2 = betas.at(1);
  o.adam.eps = recipe.get<double>("eps");
  const auto rates = recipe.get<std::vector<double>>("lr");
  o.schedule = {.kind = kernels::LrSchedule::Kind::constant, .base = rates.at(0)};
  const auto decay = recipe.get<std::string>("weight_decay");
  if (decay.starts_with("1e-4")) {
    o.weight_decay = 1e-4;
    o.schedule.kind = kernels::LrSchedule::Kind::poly;
    o.schedule.power = 0.9;
    o.schedule.total = 40000;
  } else {
    o.weight_decay = 0.05;
    model.visit_parameters([&](const std::string& path, nn::Parameter& p) {
      if (p.var.shape().rank() == 1) o.no_decay.push_back(path);
    });
  }
  for (size_t t = 0; t < 3; ++t)
    if (std::abs(kernels::learning_rate(o.schedule, static_cast<int64_t>(t)) / rates.at(t) - 1) > 1e-12)
      throw FileError(file.path() + ": optimizer: lr: not the rates of the published schedule");
  recipe.check_used();
  return o;
}

struct Step {
  double loss;
  std::vector<double> norms;
};
Step first_step(models::Model& model, const Batch& batch) {
  const Var loss = loss_of(model, batch);
  backward(loss);
  Step step{loss.value().item(), gradient_norms(model)};
  model.clear_grads();
  return step;
}

void check_norms(const std::string& name, const std::vector<double>& got, const std::vector<double>& expected,
                 const std::vector<std::string>& names, double tolerance, Report& report) {
  if (got.size() != expected.size()) return report.fail(name, "another number of parameters");
  const double largest = *std::max_element(expected.begin(), expected.end());
  std::vector<double> big, big_expected;
  std::vector<std::string> big_names;
  double small = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (expected[i] > kZeroShare * largest) {
      big.push_back(got[i]);
      big_expected.push_back(expected[i]);
      big_names.push_back(names.at(i));
    } else {
      small = std::max(small, std::abs(got[i] - expected[i]) / largest);
    }
  }
  report.entries(name, big, big_expected, tolerance, big_names);
  if (big.size() < got.size())
    report.error(fmt::format("{}, {} zeros", name, got.size() - big.size()), "of the largest", small, kZeroNoise);
}

double relative(double got, double expected) { return std::abs(got - expected) / std::abs(expected); }
}  // namespace

double dgmn2_first_loss(GoldenFile& file, const Dgmn2Network& network, Device& device, DType precision) {
  const NoGrad no_grad(device);
  return loss_of(*network(device), make_batch(file, device, precision)).value().item();
}

void run_dgmn2_training(GoldenFile& file, const Dgmn2Network& network, Device& device, Report& report) {
  const std::vector<double> trajectory = file.values("loss_traj"), norms = file.values("grad_norm");
  const auto exact = file.get<std::vector<double>>("loss_traj_float64");
  Fields noise = file.fields("fp32_noise");
  // Files of tests/torch/dgmn2_golden.py say how far the reference's float32 runs stray after each step.
  const auto stray = noise.get<std::vector<double>>("loss_traj", std::vector<double>(4, 0.0));
  {
    // In float64 differences are the file's own rounding, of which gradients have that of the metadata.
    const std::unique_ptr<models::Model> model = network(file.host());
    make_float64(*model);
    const Step step = first_step(*model, make_batch(file, file.host(), DType::f64));
    report.error("loss (f64)", "relative", relative(step.loss, exact.at(0)), 1e-7);
    check_norms("grad_norm (f64)", step.norms, norms, trained_names(*model),
                std::max(2e-5, 3 * noise.get<double>("grad_norm_rel_over_big")), report);
  }
  const std::unique_ptr<models::Model> model = network(device);
  const Batch batch = make_batch(file, device, DType::f32);
  const std::vector<std::string> names = trained_names(*model);
  const std::unique_ptr<train::Optimizer> optimizer = train::Optimizer::create(*model, optimizer_options(file, *model));
  for (size_t t = 0; t < 4; ++t) {
    const Var loss = loss_of(*model, batch);
    const double value = loss.value().item();
    if (t == 0) report.error("loss", "relative", relative(value, file.values("loss").at(0)), 1e-5);
    report.error(fmt::format("loss after {} steps", t), "relative",
                 std::max(relative(value, trajectory.at(t)), relative(value, exact.at(t))),
                 std::max(t == 0 ? 1e-5 : 2e-3, kRoom * stray.at(t)));
    if (t == 3) break;
    backward(loss);
    if (t == 0) check_norms("grad_norm", gradient_norms(*model), norms, names, 5e-3, report);
    optimizer->step();
    model->clear_grads();
  }
}

}  // namespace segrt::golden
