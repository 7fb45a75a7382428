#include "train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "autograd/elementwise.h"
#include "core/error.h"
#include "train/evaluator.h"
#include "train/nonfinite.h"

namespace segrt::train {
namespace {
using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }
}  // namespace

kernels::Normalization normalization_of(const data::Dataset& dataset) {
  kernels::Normalization n{};
  for (size_t c = 0; c < 3; ++c) {
    n.mean[c] = static_cast<float>(dataset.mean()[c]);
    n.std[c] = static_cast<float>(dataset.std()[c]);
  }
  return n;
}

struct Trainer::Window {
  explicit Window(Device& device, int capacity) : losses(Tensor::zeros({capacity}, DType::f32, device)) {}
  Tensor losses;  // on the device, so that a step need not wait for its loss
  int64_t steps = 0, images = 0;
  Clock::time_point start = Clock::now();
  double stall_at_start = 0;
};

Trainer::Trainer(const Config& config, Device& device, RunDirectory run)
    : config_(config),
      device_(device),
      run_(std::move(run)),
      data_settings_(data_settings(config)),
      settings_(train_settings(config)),
      validate_settings_(validate_settings(config)) {
  eval_settings(config);  // read by the evaluating programs; here so that its keys are known
  device_.set_deterministic(settings_.deterministic);
  train_set_ = make_dataset(config, "train");
  val_set_ = make_dataset(config, "val");
  nn::Init init(device_, settings_.seed);
  model_ = models::build(config.table("model"), init);
  config.check_unused();
  if (model_->task() != models::Task::segmentation)
    throw config.error("model.task", "\"segmentation\" (training of classifiers is not there yet)",
                       "\"classification\"");
  if (train_set_->classes().size() != model_->classes())
    throw config.error("model.classes", fmt::format("{} as {} has", train_set_->classes().size(), train_set_->name()),
                       std::to_string(model_->classes()));
  const int multiple = model_->size_multiple();
  const int crop_height = data_settings_.crop_height, crop_width = data_settings_.crop_width;
  if (crop_height % multiple != 0 || crop_width % multiple != 0)
    throw config.error("data.crop", fmt::format("multiples of {} for {}", multiple, model_->name()),
                       fmt::format("{}x{}", crop_height, crop_width));
  if (!settings_.pretrained.empty()) notice_ = load_pretrained(settings_.pretrained, *model_);

  transform_ = make_train_transform(data_settings_);
  crop_transform_ = make_crop_transform(data_settings_);
  loader_ = std::make_unique<data::Loader>(
      *train_set_, *transform_, device_,
      data::Loader::Options{
          .batch_size = settings_.batch, .workers = data_settings_.workers, .seed = data_settings_.seed});

  kernels::LrSchedule& schedule = settings_.optimizer.schedule;
  schedule.steps_per_unit = settings_.schedule_per_epoch ? loader_->batches_per_epoch() : 1;
  schedule.total = settings_.schedule_per_epoch ? settings_.epochs : settings_.epochs * loader_->batches_per_epoch();
  optimizer_ = std::make_unique<Sgd>(*model_, settings_.optimizer);
}

Trainer::~Trainer() = default;

void Trainer::resume() {
  progress_ = load_checkpoint(run_.latest(), *model_, *optimizer_);
  loader_->seek({progress_.epoch, progress_.batch});
  last_saved_step_ = progress_.step;
  notice_ = fmt::format("resumed at epoch {}, batch {}, step {}", progress_.epoch, progress_.batch, progress_.step);
}

Tensor Trainer::upload(const data::Batch& batch) const {
  Tensor raw = Tensor::empty({batch.size, batch.height, batch.width, 3}, DType::u8, device_);
  device_.copy_from_host(raw.raw(), batch.images.data(), raw.nbytes());
  Tensor x = Tensor::empty(raw.shape(), settings_.precision, device_);
  kernels::normalize_u8(raw, normalization_of(*train_set_), x);
  return x;
}

Tensor Trainer::upload_labels(const data::Batch& batch) const {
  Tensor labels = Tensor::empty({batch.size, batch.height, batch.width}, DType::u8, device_);
  device_.copy_from_host(labels.raw(), batch.labels.data(), labels.nbytes());
  return labels;
}

void Trainer::step(const data::Batch& batch, Window& window) {
  const Tensor x = upload(batch);
  const Tensor labels = upload_labels(batch);
  Var loss;
  for (const models::Head& head : model_->forward(x)) {
    const Var part = autograd::scale(
        nn::segmentation_loss(head.scores, head.up, labels, train_set_->classes().ignore_index).loss, head.loss_weight);
    loss = loss.defined() ? autograd::add(loss, part) : part;
  }
  window.losses.slice(window.steps, 1).copy_from(loss.value());
  ++window.steps;
  // Where reading costs nothing, a bad loss is caught before it reaches the weights; elsewhere at the next report.
  if (device_.is_cpu()) check_losses(window, x);
  backward(loss);
  loss = Var();
  optimizer_->step();
  model_->clear_grads();
  window.images += batch.size;
  ++progress_.step;
  progress_.epoch = static_cast<int>(loader_->position().epoch);
  progress_.batch = loader_->position().batch;
}

void Trainer::check_losses(const Window& window, const Tensor& input) {
  const std::vector<float> losses = window.losses.to_vector<float>();
  for (int64_t i = 0; i < window.steps; ++i) {
    if (std::isfinite(losses[static_cast<size_t>(i)])) continue;
    const int64_t steps_done = progress_.step - (device_.is_cpu() ? window.steps - 1 : window.steps);
    throw Error(fmt::format("the loss of step {} is {}: {}; the last checkpoint is {}", steps_done + i,
                            losses[static_cast<size_t>(i)], first_nonfinite(*model_, input),
                            last_saved_step_ < 0 ? "none" : run_.numbered(last_saved_step_).string()));
  }
}

void Trainer::report(RunLog& log, Window& window) {
  if (window.steps == 0) return;
  device_.synchronize();
  const double seconds = seconds_since(window.start);
  const int64_t batches = loader_->batches_per_epoch();
  const std::vector<float> losses = window.losses.to_vector<float>();
  StepReport r;
  r.step = progress_.step;
  r.steps_total = batches * settings_.epochs;
  const int64_t last = progress_.step - 1;  // the batch just done
  r.epoch = static_cast<int>(last / batches);
  r.epochs = settings_.epochs;
  r.batch = last % batches + 1;
  r.batches = batches;
  for (int64_t i = 0; i < window.steps; ++i)
    r.loss += losses[static_cast<size_t>(i)] / static_cast<double>(window.steps);
  r.learning_rate = optimizer_->learning_rate().item();
  r.images_per_s = static_cast<double>(window.images) / seconds;
  r.stall = std::clamp((loader_->stall_seconds() - window.stall_at_start) / seconds, 0.0, 1.0);
  r.peak_bytes = device_.memory().peak_bytes;
  r.eta_s = static_cast<double>(r.steps_total - r.step) * seconds / static_cast<double>(window.steps);
  if (settings_.max_minutes > 0)
    r.eta_s = std::min(r.eta_s, std::max(0.0, 60 * settings_.max_minutes - progress_.train_seconds));
  log.step(r);
  window = Window(device_, settings_.log_every);
  window.stall_at_start = loader_->stall_seconds();
}

Trainer::Outcome Trainer::run(RunLog& log, const std::function<bool()>& stop_requested) {
  if (!notice_.empty()) log.message(notice_);
  log.message(
      fmt::format("{} on {}: {} training and {} validation images, {} parameters, {} epochs of {} batches of {}",
                  model_->name(), device_.description(), train_set_->size(), val_set_->size(),
                  model_->parameter_count(), settings_.epochs, loader_->batches_per_epoch(), settings_.batch));
  Window window(device_, settings_.log_every);
  model_->set_training(true);
  Outcome outcome = Outcome::finished;
  while (progress_.epoch < settings_.epochs) {
    const auto start = Clock::now();
    const std::optional<data::Batch> batch = loader_->next();
    step(*batch, window);
    progress_.train_seconds += seconds_since(start);
    const bool epoch_done = progress_.batch == 0;
    if (window.steps == settings_.log_every || epoch_done) {
      if (!device_.is_cpu()) check_losses(window, upload(*batch));
      report(log, window);
    }
    if (epoch_done) {
      finish_epoch(log);
      window = Window(device_, settings_.log_every);
      window.stall_at_start = loader_->stall_seconds();
    }
    if (stop_requested && stop_requested()) {
      outcome = Outcome::stopped;
      break;
    }
    if (settings_.max_minutes > 0 && progress_.train_seconds > 60 * settings_.max_minutes) {
      outcome = Outcome::out_of_time;
      break;
    }
  }
  report(log, window);
  if (last_saved_step_ != progress_.step) {
    bool is_best = false;
    if (outcome == Outcome::out_of_time) {  // the run ends here, so its last state deserves a score as well
      const double score = validate(log);
      is_best = score > progress_.best_score;
      if (is_best) progress_.best_score = score, progress_.best_epoch = progress_.epoch;
    }
    save(log, is_best);
  }
  log.flush();
  return outcome;
}

void Trainer::finish_epoch(RunLog& log) {
  const bool last = progress_.epoch == settings_.epochs;
  bool is_best = false;
  if (progress_.epoch % validate_settings_.every == 0 || last) {
    const double score = validate(log);
    is_best = score > progress_.best_score;
    if (is_best) {
      progress_.best_score = score;
      progress_.best_epoch = progress_.epoch;
    }
  }
  if (progress_.epoch % settings_.checkpoint_every == 0 || is_best || last) save(log, is_best);
}

double Trainer::validate(RunLog& log) {
  if (validate_settings_.crops) return validate_crops(log);
  Evaluator evaluator(*model_,
                      {.precision = settings_.precision, .mean = train_set_->mean(), .std = train_set_->std()});
  const Evaluator::Result result = evaluator.evaluate(*val_set_, validate_settings_.limit);
  model_->set_training(true);
  log.values("val", progress_.step, progress_.epoch,
             {{"miou", result.scores.miou},
              {"macc", result.scores.macc},
              {"pixel_accuracy", result.scores.aacc},
              {"images_per_s", static_cast<double>(result.images) / result.seconds}});
  return validate_settings_.best == "miou" ? result.scores.miou : result.scores.aacc;
}

// The mean over batches, weighted by batch size, of the share of labelled pixels that are right (DRN's published
// recipe).
double Trainer::validate_crops(RunLog& log) {
  data::Loader loader(*val_set_, *crop_transform_, device_,
                      {.batch_size = static_cast<int>(std::min<int64_t>(settings_.batch, val_set_->size())),
                       .workers = data_settings_.workers,
                       .shuffle = false,
                       .drop_last = true,
                       .endless = false,
                       .seed = data_settings_.seed});
  loader.seek({progress_.epoch, 0});
  model_->set_training(false);
  const NoGrad no_grad(device_);
  double accuracy = 0, loss = 0;
  int64_t images = 0;
  while (const std::optional<data::Batch> batch = loader.next()) {
    const models::Head head = model_->forward(upload(*batch)).front();
    const auto result =
        nn::segmentation_loss(head.scores, head.up, upload_labels(*batch), val_set_->classes().ignore_index);
    const double pixels = result.weight_sum.item();
    if (pixels > 0) accuracy += batch->size * result.correct.item() / pixels;
    loss += batch->size * result.loss.value().item();
    images += batch->size;
  }
  model_->set_training(true);
  accuracy /= static_cast<double>(images);
  log.values("val", progress_.step, progress_.epoch,
             {{"pixel_accuracy", accuracy}, {"loss", loss / static_cast<double>(images)}});
  return accuracy;
}

void Trainer::save(RunLog& log, bool is_best) {
  save_checkpoint(run_.numbered(progress_.step), *model_, *optimizer_, progress_, config_, card_of(*train_set_));
  run_.publish(progress_.step, is_best, settings_.keep);
  last_saved_step_ = progress_.step;
  log.message(fmt::format("checkpoint {}{}", run_.numbered(progress_.step).string(), is_best ? " (best)" : ""));
}

}  // namespace segrt::train
