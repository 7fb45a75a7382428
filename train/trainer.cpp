#include "train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/error.h"
#include "train/classification.h"
#include "train/evaluator.h"
#include "train/loss_window.h"
#include "train/nonfinite.h"
#include "train/precise_bn.h"
#include "train/precision.h"
#include "train/validation.h"

namespace segrt::train {
namespace {
using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }
}  // namespace

struct Trainer::Window {
  LossWindow losses;
  int64_t images = 0;
  Clock::time_point start = Clock::now();
  double stall_at_start = 0;
};

Trainer::Trainer(const Config& config, Device& device, RunDirectory run, const ModelBuilder& build,
                 Communicator* processes)
    : config_(config),
      device_(device),
      run_(std::move(run)),
      data_settings_(data_settings(config)),
      settings_(train_settings(config)),
      validate_settings_(validate_settings(config)),
      eval_settings_(eval_settings(config)),
      processes_(processes != nullptr && processes->size() > 1 ? processes : nullptr) {
  device_.set_deterministic(settings_.deterministic);
  if (settings_.sums_by_sample && !device_.is_cpu())
    throw config_.error("train.sums_by_sample", "false on a GPU, whose sums are f32", "true");
  device_.set_sums_by_sample(settings_.sums_by_sample);
  set_f32_products(device_, settings_.tf32);
  train_set_ = make_dataset(config, "train");
  val_set_ = make_dataset(config, "val");
  nn::Init init(device_, settings_.seed);
  model_ = build(config.table("model"), init);
  config.check_unused();
  check_data();
  if (!settings_.pretrained.empty())
    notice_ = load_pretrained(settings_.pretrained, *model_, settings_.pretrained_strict);

  transform_ = make_train_transform(data_settings_);
  if (validate_settings_.crops) crop_transform_ = make_crop_transform(data_settings_);
  loader_ = std::make_unique<data::Loader>(*train_set_, *transform_, device_,
                                           data::Loader::Options{.batch_size = settings_.batch,
                                                                 .workers = data_settings_.workers,
                                                                 .drop_last = settings_.drop_last,
                                                                 .seed = data_settings_.seed,
                                                                 .rank = first() ? 0 : processes_->rank(),
                                                                 .world = size(),
                                                                 .wrap = true,
                                                                 .repeats = data_settings_.repeats});

  normalization_ = input_normalization(*model_, train_set_->mean(), train_set_->std());

  uploads_ = std::make_unique<UploadRing>(device_);

  const int64_t batches = loader_->batches_per_epoch();
  total_steps_ = settings_.iterations > 0 ? settings_.iterations : settings_.epochs * batches;
  kernels::LrSchedule& schedule = settings_.optimizer.schedule;
  schedule.steps_per_unit = settings_.schedule_per_epoch ? batches : 1;
  schedule.total = settings_.schedule_per_epoch ? settings_.epochs : total_steps_;
  optimizer_ = Optimizer::create(*model_, settings_.optimizer);
  progress_.step_images = int64_t{settings_.batch} * size();
  if (processes_ != nullptr) {
    parallel_ = std::make_unique<DataParallel>(*model_, *processes_, settings_.parallel);
    parallel_->broadcast_state();
  }
  if (settings_.ema_decay > 0) average_ = std::make_unique<WeightAverage>(*model_, settings_.ema_decay);
  step_ = std::make_unique<TrainingStep>(*model_, *optimizer_,
                                         TrainingStep::Options{.ignore_index = train_set_->classes().ignore_index,
                                                               .label_smoothing = settings_.label_smoothing,
                                                               .capture = settings_.capture},
                                         parallel_.get(), average_.get());
}

Trainer::~Trainer() = default;

// That data and network fit each other.
void Trainer::check_data() const {
  const bool classifies = model_->task() == models::Task::classification;
  if (train_set_->is_classification() != classifies)
    throw config_.error("data.kind",
                        classifies ? "a dataset of images with one class each for model.task = \"classification\""
                                   : "a dataset with label maps for model.task = \"segmentation\"",
                        '"' + data_settings_.kind + '"');
  for (const data::Dataset* set : {train_set_.get(), val_set_.get()})
    if (set->classes().size() != model_->classes())
      throw config_.error("model.classes", fmt::format("{} as {} has", set->classes().size(), set->name()),
                          std::to_string(model_->classes()));
  const auto require_multiple = [&](const char* key, int height, int width, int multiple) {
    if (height % multiple != 0 || width % multiple != 0)
      throw config_.error(key, fmt::format("multiples of {} for {}", multiple, model_->name()),
                          fmt::format("{}x{}", height, width));
  };
  require_multiple("data.crop", data_settings_.crop_height, data_settings_.crop_width, model_->size_multiple());
  if (!classifies) return;
  const int crop_size = eval_settings_.centre_crop.crop_size;
  require_multiple("eval.crop_size", crop_size, crop_size, model_->pad_multiple());
}

void Trainer::resume() {
  progress_ = load_checkpoint(run_.latest(), *model_, *optimizer_, average_.get());
  const int64_t step_images = int64_t{settings_.batch} * size();
  // Position, schedule and length of the training are counted in steps of so many images.
  if (progress_.step_images != 0 && progress_.step_images != step_images && size() > 1)
    throw config_.error("train.batch",
                        fmt::format("{} images a step over all processes, as {} has been trained with",
                                    progress_.step_images, run_.latest().string()),
                        fmt::format("{} in each of {} processes", settings_.batch, size()));
  progress_.step_images = step_images;
  loader_->seek({progress_.epoch, progress_.batch});
  last_saved_step_ = progress_.step;
  if (optimizer_->loss_scale().defined()) skipped_steps_ = static_cast<int64_t>(optimizer_->skipped_steps().item());
  notice_ = fmt::format("resumed at epoch {}, batch {}, step {}", progress_.epoch, progress_.batch, progress_.step);
  const bool saved = has_averages(run_.latest());
  if (average_ != nullptr && !saved) notice_ += "; there were no averages of the weights, which start from here";
  if (average_ == nullptr && saved) notice_ += "; averages of the weights are given up, as train.ema_decay is 0";
}

// What a step sees of a batch, erased rectangles and mixed images included: the same whenever it is asked for.
NetworkInput Trainer::input_of(const std::shared_ptr<const data::Batch>& batch) {
  return upload(batch, normalization_, settings_.precision, *uploads_,
                {.seed = data_settings_.seed, .mix = settings_.mix});
}

// Waits for nothing on the device, so that the host stays ahead of it; report() does.
void Trainer::step(Window& window) {
  batch_ = std::make_shared<const data::Batch>(std::move(*loader_->next()));
  if (see_batch) see_batch(progress_.step, *batch_);
  const NetworkInput input = input_of(batch_);
  step_->run(
      input.x, input.labels, progress_.step, total_steps_,
      [&](const Tensor& total, const std::vector<models::AuxiliaryLoss>& auxiliary) {
        window.losses.add(total, auxiliary);
        if (checks_each_step()) check_losses(window);
      },
      input.own_share);
  window.images += int64_t{batch_->size} * size();
  ++progress_.step;
  if (processes_ != nullptr) processes_->report_step(progress_.step);
  progress_.epoch = static_cast<int>(loader_->position().epoch);
  progress_.batch = loader_->position().batch;
}

// On devices with graphs: once it is known whether steps are replayed, and when that changes.
void Trainer::tell_capture(RunLog& log) {
  if (device_.is_cpu() || (!step_->reason().empty() && step_->warming_up())) return;
  const std::string note = step_->reason().empty()
                               ? fmt::format("training steps are replayed from a graph, {:.0f} MiB",
                                             static_cast<double>(step_->graph()->memory_bytes()) / (1 << 20))
                               : "training steps run operator by operator: " + step_->reason();
  if (note == capture_note_) return;
  capture_note_ = note;
  log.message(note);
}

// Where reading costs nothing, a bad loss is caught before it reaches the weights; elsewhere at the next report. With
// loss scaling it does not reach them: the step is skipped.
bool Trainer::checks_each_step() const { return device_.is_cpu() && !optimizer_->loss_scale().defined(); }

// With loss scaling a loss that is not finite, and gradients that are not, cost a step and half the scale. That is an
// error only where it was not skipped, or where no scale helps.
void Trainer::check_scaled_losses(const Window& window) {
  const std::vector<float> losses = window.losses.totals();
  const auto bad = std::count_if(losses.begin(), losses.end(), [](float loss) { return !std::isfinite(loss); });
  const auto skipped = static_cast<int64_t>(optimizer_->skipped_steps().item());
  const double scale = optimizer_->loss_scale().item();
  if (bad <= skipped - skipped_steps_ && scale >= settings_.optimizer.loss_scaling.least) return;
  const Tensor input = input_of(batch_).x;
  throw Error(fmt::format(
      "training has diverged by step {}: {} of the last {} losses are not finite, {} steps were skipped, the loss "
      "scale is {:g} (train.loss_scale_least = {:g}): {}; the last checkpoint is {}",
      progress_.step, bad, losses.size(), skipped - skipped_steps_, scale, settings_.optimizer.loss_scaling.least,
      first_nonfinite(*model_, input), last_saved_step_ < 0 ? "none" : run_.numbered(last_saved_step_).string()));
}

void Trainer::check_losses(const Window& window) {
  if (optimizer_->loss_scale().defined()) return check_scaled_losses(window);
  const std::vector<float> losses = window.losses.totals();
  const int64_t steps = window.losses.steps();
  for (int64_t i = 0; i < steps; ++i) {
    const float loss = losses[static_cast<size_t>(i)];
    if (std::isfinite(loss)) continue;
    const int64_t steps_done = progress_.step - (checks_each_step() ? steps - 1 : steps);
    const Tensor input = input_of(batch_).x;
    throw Error(fmt::format("the loss of step {} is {}: {}; the last checkpoint is {}", steps_done + i, loss,
                            first_nonfinite(*model_, input),
                            last_saved_step_ < 0 ? "none" : run_.numbered(last_saved_step_).string()));
  }
}

void Trainer::report(RunLog& log, Window& window) {
  const int64_t steps = window.losses.steps();
  if (steps == 0) return;
  device_.synchronize();
  if (!checks_each_step()) check_losses(window);
  const double seconds = seconds_since(window.start);
  const int64_t batches = loader_->batches_per_epoch();
  StepReport r;
  r.step = progress_.step;
  r.steps_total = total_steps_;
  const int64_t last = progress_.step - 1;  // the batch just done
  r.epoch = static_cast<int>(last / batches);
  r.epochs = static_cast<int>((total_steps_ + batches - 1) / batches);
  r.batch = last % batches + 1;
  r.batches = batches;
  r.loss = window.losses.mean_total();
  r.auxiliary_losses = window.losses.mean_auxiliary();
  r.learning_rate = optimizer_->learning_rate().item();
  if (optimizer_->loss_scale().defined()) {
    skipped_steps_ = static_cast<int64_t>(optimizer_->skipped_steps().item());
    r.loss_scaling = {.scale = optimizer_->loss_scale().item(), .skipped_steps = skipped_steps_};
  }
  r.images_per_s = static_cast<double>(window.images) / seconds;
  r.stall = std::clamp((loader_->stall_seconds() - window.stall_at_start) / seconds, 0.0, 1.0);
  r.peak_bytes = device_.memory().peak_bytes;
  r.eta_s = static_cast<double>(r.steps_total - r.step) * seconds / static_cast<double>(steps);
  if (settings_.max_minutes > 0)
    r.eta_s = std::min(r.eta_s, std::max(0.0, 60 * settings_.max_minutes - progress_.train_seconds));
  log.step(r);
  window = {LossWindow(device_, settings_.log_every)};
  window.stall_at_start = loader_->stall_seconds();
}

Trainer::Outcome Trainer::run(RunLog& log, const std::function<bool()>& stop_requested) {
  if (!notice_.empty()) log.message(notice_);
  log.message(fmt::format(
      "{} on {}: {} training and {} validation images, {} parameters, {} of batches of {}", model_->name(),
      device_.description(), train_set_->size(), val_set_->size(), model_->parameter_count(),
      settings_.iterations > 0 ? fmt::format("{} iterations", settings_.iterations)
                               : fmt::format("{} epochs of {}", settings_.epochs, loader_->batches_per_epoch()),
      processes_ == nullptr ? std::to_string(settings_.batch)
                            : fmt::format("{} x {}", processes_->size(), settings_.batch)));
  if (average_ != nullptr)
    log.message(fmt::format("weights are averaged with a decay of {}: validated and saved are the averages",
                            average_->decay()));
  Window window{LossWindow(device_, settings_.log_every)};
  model_->set_training(true);
  Outcome outcome = Outcome::finished;
  while (progress_.step < total_steps_) {
    const auto start = Clock::now();
    step(window);
    tell_capture(log);
    const bool milestone = progress_.batch == 0 || progress_.step == total_steps_;
    if (window.losses.steps() == settings_.log_every || milestone) report(log, window);
    progress_.train_seconds += seconds_since(start);  // with the device's, for which report() waits
    if (milestone) {
      finish_epoch(log);
      window = {LossWindow(device_, settings_.log_every)};
      window.stall_at_start = loader_->stall_seconds();
    }
    const auto due = [this](int64_t every) { return every > 0 && progress_.step % every == 0; };
    bool is_best = false;
    if (due(validate_settings_.every_steps) && last_validated_step_ != progress_.step) {
      report(log, window);
      is_best = validate(log);
      window = {LossWindow(device_, settings_.log_every)};
      window.stall_at_start = loader_->stall_seconds();
    }
    if (is_best || (due(settings_.checkpoint_every_steps) && last_saved_step_ != progress_.step)) {
      if (!checks_each_step()) check_losses(window);
      save(log, is_best);
    }
    const int64_t stop = agreed_stop(stop_requested && stop_requested());
    if (stop != kGoOn) {
      outcome = stop == kRequested ? Outcome::stopped : Outcome::out_of_time;
      break;
    }
  }
  report(log, window);
  // A run whose time is up ends here, so its last state deserves a score as well.
  const bool is_best = outcome == Outcome::out_of_time && last_validated_step_ != progress_.step && validate(log);
  if (is_best || last_saved_step_ != progress_.step) save(log, is_best);
  log.flush();
  return outcome;
}

// What one process is asked to do all do, after the same step.
int64_t Trainer::agreed_stop(bool requested) {
  const bool late = settings_.max_minutes > 0 && progress_.train_seconds > 60 * settings_.max_minutes;
  const int64_t own = requested ? kRequested : late ? kOutOfTime : kGoOn;
  if (processes_ == nullptr) return own;
  const std::vector<int64_t> all = parallel_->statistics().all_gather(own);
  return *std::max_element(all.begin(), all.end());
}

// After an epoch, and after the last step wherever it lies in its epoch.
void Trainer::finish_epoch(RunLog& log) {
  const bool last = progress_.step == total_steps_;
  const auto due = [this](int every) { return every > 0 && progress_.epoch % every == 0; };
  if (last && settings_.precise_bn_batches > 0) renew_statistics(log);
  const bool is_best = (last || due(validate_settings_.every)) && validate(log);
  if (last || is_best || due(settings_.checkpoint_every)) save(log, is_best);
}

// From the training batches that would come next.
void Trainer::renew_statistics(RunLog& log) {
  const auto start = Clock::now();
  const auto renew = [this] {
    const int64_t norms = precise_batch_norm(*model_, settings_.precise_bn_batches, [this] {
      return input_of(std::make_shared<const data::Batch>(std::move(*loader_->next()))).x;
    });
    loader_->seek({progress_.epoch, progress_.batch});
    return norms;
  };
  const int64_t norms = renew();
  if (average_ != nullptr) {  // averaged weights have statistics of their own
    const WeightAverage::InModel averaged(average_.get());
    renew();
  }
  log.message(fmt::format("running statistics of {} batch norms from {} batches, in {:.1f} s", norms,
                          settings_.precise_bn_batches, seconds_since(start)));
}

std::map<std::string, double> Trainer::scores_on_crops() {
  data::Loader loader(*val_set_, *crop_transform_, device_,
                      {.batch_size = static_cast<int>(std::min<int64_t>(settings_.batch, val_set_->size())),
                       .workers = data_settings_.workers,
                       .shuffle = false,
                       .drop_last = true,
                       .endless = false,
                       .seed = data_settings_.seed});
  loader.seek({progress_.epoch, 0});
  return validate_crops(*model_, loader, normalization_, settings_.precision, val_set_->classes().ignore_index,
                        device_);
}

std::map<std::string, double> Trainer::validation_scores() {
  if (model_->task() == models::Task::classification) {
    const ClassifierEvaluation evaluation{.centre_crop = eval_settings_.centre_crop,
                                          .precision = settings_.precision,
                                          .mean = train_set_->mean(),
                                          .std = train_set_->std(),
                                          .batch = std::min(settings_.batch, 32),
                                          .workers = data_settings_.workers,
                                          .limit = validate_settings_.limit};
    return validation_values(evaluation.run(*model_, *val_set_, processes_));
  }
  if (validate_settings_.crops) return scores_on_crops();
  Evaluator::Options options = evaluation_options(eval_settings_, /*multi_scale=*/false, /*flip=*/false);
  options.precision = settings_.precision;
  options.mean = train_set_->mean();
  options.std = train_set_->std();
  return validate_images(*model_, *val_set_, options, validate_settings_.limit, processes_);
}

// Whether this is the best score so far.
bool Trainer::validate(RunLog& log) {
  // Running statistics differ where each process has its own.
  const auto share_statistics = [this] {
    if (processes_ != nullptr && !settings_.parallel.sync_bn) parallel_->broadcast_state();
  };
  share_statistics();
  std::map<std::string, double> values;
  {
    const WeightAverage::InModel averaged(average_.get());
    if (average_ != nullptr) share_statistics();
    values = validation_scores();
  }
  model_->set_training(true);
  last_validated_step_ = progress_.step;
  log.values("val", progress_.step, progress_.epoch, values);
  const double score = values.at(validate_settings_.best);
  const bool is_best = score > progress_.best_score;
  if (is_best) {
    progress_.best_score = score;
    progress_.best_epoch = progress_.epoch;
  }
  return is_best;
}

void Trainer::save(RunLog& log, bool is_best) {
  last_saved_step_ = progress_.step;
  if (!first()) return;
  save_checkpoint(run_.numbered(progress_.step), *model_, *optimizer_, progress_, config_, card_of(*train_set_),
                  average_.get());
  run_.publish(progress_.step, is_best, settings_.keep);
  log.message(fmt::format("checkpoint {}{}", run_.numbered(progress_.step).string(), is_best ? " (best)" : ""));
}

}  // namespace segrt::train
