#include "train/settings.h"

#include <algorithm>

#include "core/error.h"
#include "models/model.h"
#include "train/precision.h"

namespace segrt::train {
namespace {
using kernels::LrSchedule;

// Each task, optimizer, schedule and way of resizing has its own keys; one of another would do nothing.
void require_absent(const Config& table, const std::vector<std::string>& keys, const std::string& setting) {
  for (const std::string& key : keys)
    if (table.has(key)) throw table.error(key, "no such key with " + setting, "a value");
}

LrSchedule schedule_settings(const Config& train, bool per_epoch) {
  LrSchedule s;
  const std::string kind = train.choice("schedule", {"constant", "step", "poly", "cosine"}, {.fallback = "poly"});
  s.base = train.number("lr", {.fallback = 0.01, .above = 0});
  if (kind == "step") {
    s.kind = LrSchedule::Kind::step;
    s.step_size = train.integer("lr_step", {.fallback = 200, .min = 1});
    s.gamma = train.number("lr_gamma", {.fallback = 0.1, .max = 1, .above = 0});
  } else if (kind == "poly") {
    s.kind = LrSchedule::Kind::poly;
    s.power = train.number("lr_power", {.fallback = 0.9, .above = 0});
  } else if (kind == "cosine") {
    s.kind = LrSchedule::Kind::cosine;
  }
  if (s.kind == LrSchedule::Kind::poly || s.kind == LrSchedule::Kind::cosine)
    s.end_lr = train.number("end_lr", {.fallback = 0, .min = 0});
  else
    require_absent(train, {"end_lr"}, "schedule = \"" + kind + '"');
  s.min_lr = train.number("min_lr", {.fallback = 0, .min = 0});
  // A saved configuration lists what was read, defaults included: a key is read only where it has a meaning.
  if (per_epoch) {
    s.warmup_units = train.integer("warmup_epochs", {.fallback = 0, .min = 0});
    s.lag = train.integer("schedule_lag", {.fallback = 0, .min = 0, .max = 1});
  } else {
    require_absent(train, {"warmup_epochs", "schedule_lag"}, "schedule_per = \"iteration\"");
  }
  if (s.warmup_units > 0) {
    require_absent(train, {"warmup_steps", "warmup_factor"}, "warmup_epochs");
    s.warmup_lr = train.number("warmup_lr", {.fallback = 0, .min = 0});
  } else {
    require_absent(train, {"warmup_lr"}, "no warmup_epochs");
    s.warmup_steps = train.integer("warmup_steps", {.fallback = 0, .min = 0});
    s.warmup_factor = train.number("warmup_factor", {.fallback = 0, .min = 0, .max = 1});
  }
  return s;
}

void optimizer_settings(const Config& train, Optimizer::Options& o) {
  const std::string kind = train.choice("optimizer", {"sgd", "adam", "adamw"}, {.fallback = "sgd"});
  const std::string setting = "optimizer = \"" + kind + '"';
  if (kind == "sgd") {
    require_absent(train, {"beta1", "beta2", "eps"}, setting);
    o.sgd.momentum = static_cast<float>(train.number("momentum", {.fallback = 0.9, .min = 0, .below = 1}));
    o.sgd.nesterov = train.boolean("nesterov", {.fallback = false});
    return;
  }
  require_absent(train, {"momentum", "nesterov"}, setting);
  o.kind = kind == "adam" ? Optimizer::Kind::adam : Optimizer::Kind::adamw;
  o.adam.beta1 = train.number("beta1", {.fallback = 0.9, .min = 0, .below = 1});
  o.adam.beta2 = train.number("beta2", {.fallback = 0.999, .min = 0, .below = 1});
  o.adam.eps = train.number("eps", {.fallback = 1e-8, .above = 0});
}

LossScaling loss_scale_settings(const Config& train) {
  LossScaling s;
  s.initial = train.number("loss_scale", {.fallback = 65536, .above = 0});
  s.rule.growth = train.number("loss_scale_growth", {.fallback = 2, .min = 1});
  s.rule.backoff = train.number("loss_scale_backoff", {.fallback = 0.5, .above = 0, .below = 1});
  s.rule.growth_interval = train.integer("loss_scale_interval", {.fallback = 2000, .min = 1});
  s.least = train.number("loss_scale_least", {.fallback = 1e-4, .above = 0});
  return s;
}

// Which parameters are exempt from weight decay or have a learning rate of their own.
void parameter_settings(const Config& train, Optimizer::Options& optimizer) {
  optimizer.no_decay = train.texts("no_decay", {.fallback = std::vector<std::string>{}});
  optimizer.no_decay_1d = train.boolean("no_decay_1d", {.fallback = false});
  const Config factors = train.table("lr_factors");
  for (const std::string& part : factors.keys())
    optimizer.lr_factors.emplace_back(part, factors.number(part, {.min = 0}));
}

// Targets of classifiers: mixed with those of other images, and smoothed.
void target_settings(const Config& train, bool classification, TrainSettings& s) {
  if (!classification)
    return require_absent(train, {"mixup", "cutmix", "cutmix_probability", "label_smoothing"},
                          "model.task = \"segmentation\"");
  s.label_smoothing = train.number("label_smoothing", {.fallback = 0, .min = 0, .below = 1});
  s.mix.mixup_alpha = train.number("mixup", {.fallback = 0, .min = 0, .max = 100});
  s.mix.cutmix_alpha = train.number("cutmix", {.fallback = 0, .min = 0, .max = 100});
  if (s.mix.mixup_alpha > 0 && s.mix.cutmix_alpha > 0)
    s.mix.switch_probability = train.number("cutmix_probability", {.fallback = 0.5, .min = 0, .max = 1});
  else
    require_absent(train, {"cutmix_probability"}, "only one of train.mixup and train.cutmix");
  if (!s.mix.any()) return;
  if (s.batch % 2 != 0)
    throw train.error("batch", "an even number with train.mixup or train.cutmix, which mix a batch with its reverse",
                      std::to_string(s.batch));
  if (!s.drop_last)
    throw train.error("drop_last", "true with train.mixup or train.cutmix, as a last batch may be odd", "false");
}

bool classifies(const Config& config) { return models::task_of(config.table("model")) == models::Task::classification; }

data::CentreCrop::Options centre_crop_settings(const Config& eval) {
  constexpr int64_t kMaxSide = data::kMaxImageSide;
  require_absent(eval,
                 {"average", "resize", "scales", "sizes", "max_long_edge", "base_shortest_edge", "base_max_long_edge",
                  "base_size", "keep_ratio", "window", "window_stride", "window_batch"},
                 "model.task = \"classification\"");
  const int scale_size = eval.integer32("scale_size", {.fallback = 256, .min = 1, .max = kMaxSide});
  const int crop_size = eval.integer32("crop_size", {.fallback = 224, .min = 1, .max = kMaxSide});
  if (crop_size > scale_size)
    throw eval.error("crop_size", "at most eval.scale_size, " + std::to_string(scale_size), std::to_string(crop_size));
  const std::string filter = eval.choice("resample", {"bilinear", "bicubic"}, {.fallback = "bilinear"});
  return {.scale_size = scale_size,
          .crop_size = crop_size,
          .filter = filter == "bicubic" ? data::Filter::bicubic : data::Filter::bilinear};
}

// One side of a square or [height, width].
data::ImageSize size_setting(const Config& eval, const char* key) {
  constexpr int64_t kMaxSide = data::kMaxImageSide;
  try {
    const int side = eval.integer32(key, {.min = 1, .max = kMaxSide});
    return {side, side};
  } catch (const ConfigError&) {
    const std::vector<int64_t> sides = eval.integers(key, {.min = 1, .max = kMaxSide, .count = 2});
    return {static_cast<int>(sides[0]), static_cast<int>(sides[1])};
  }
}

BaseSize base_size_settings(const Config& eval) {
  return {.size = size_setting(eval, "base_size"), .keep_ratio = eval.boolean("keep_ratio", {.fallback = true})};
}

std::optional<SlidingWindow> window_settings(const Config& eval) {
  if (!eval.has("window")) {
    require_absent(eval, {"window_stride", "window_batch"}, "no eval.window");
    return std::nullopt;
  }
  const data::ImageSize size = size_setting(eval, "window"), stride = size_setting(eval, "window_stride");
  if (stride.height > size.height || stride.width > size.width)
    throw eval.error("window_stride", "at most the sides of eval.window, or pixels would be left out",
                     std::to_string(stride.height) + "x" + std::to_string(stride.width));
  return SlidingWindow{.height = size.height,
                       .width = size.width,
                       .stride_height = stride.height,
                       .stride_width = stride.width,
                       .batch = eval.integer32("window_batch", {.fallback = 4, .min = 1, .max = 4096})};
}
}  // namespace

namespace {
// Networks whose authors averaged over all pixels of a step, wherever they were computed; elsewhere each process took
// the mean over its own.
LossAverage published_average(const Config& config) {
  return config.table("model").text("name", {.fallback = ""}).starts_with("drn_") ? LossAverage::global
                                                                                  : LossAverage::per_process;
}

void parallel_settings(const Config& config, TrainSettings& s) {
  const Config train = config.table("train");
  const bool global = published_average(config) == LossAverage::global;
  s.parallel.loss_average = train.choice("loss_average", {"per_process", "global"},
                                         {.fallback = global ? "global" : "per_process"}) == "global"
                                ? LossAverage::global
                                : LossAverage::per_process;
  s.parallel.sync_bn = train.boolean("sync_bn", {.fallback = true});
  s.parallel.mean_weight_gradient =
      train.choice("sync_bn_scale_gradient", {"sum", "mean"}, {.fallback = "sum"}) == "mean";
  // Norms in one message add gradients of some maps in another order than one process does.
  s.parallel.batched_norms = train.boolean("sync_bn_batched", {.fallback = !s.sums_by_sample});
  if (s.sums_by_sample && s.parallel.batched_norms)
    throw train.error("sync_bn_batched", "false with train.sums_by_sample", "true");
  s.parallel.bucket_bytes =
      static_cast<int64_t>(train.number("bucket_mb", {.fallback = 16, .max = 1024, .above = 0}) * (1 << 20));
  s.comm_timeout_s = train.number("comm_timeout", {.fallback = 600, .above = 0});
}
}  // namespace

TrainSettings train_settings(const Config& config) {
  const Config train = config.table("train");
  TrainSettings s;
  if (!train.has("iterations"))
    s.epochs = train.integer32("epochs", {.min = 1});
  else if (train.has("epochs"))
    throw train.error("iterations", "either epochs or iterations", "both");
  else
    s.iterations = train.integer("iterations", {.min = 1});
  s.batch = train.integer32("batch", {.min = 1});
  const bool mixes = train.has("mixup") || train.has("cutmix");
  s.drop_last = train.boolean("drop_last", {.fallback = !classifies(config) || mixes});
  target_settings(train, classifies(config), s);
  optimizer_settings(train, s.optimizer);
  s.schedule_per_epoch = train.choice("schedule_per", {"epoch", "iteration"},
                                      {.fallback = s.iterations > 0 ? "iteration" : "epoch"}) == "epoch";
  if (s.schedule_per_epoch && s.iterations > 0)
    throw train.error("schedule_per", "\"iteration\" with train.iterations", "\"epoch\"");
  s.optimizer.schedule = schedule_settings(train, s.schedule_per_epoch);
  s.optimizer.weight_decay = train.number("weight_decay", {.fallback = 1e-4, .min = 0});
  s.optimizer.clip_norm = train.number("clip_norm", {.fallback = 0, .min = 0});
  parameter_settings(train, s.optimizer);
  s.ema_decay = train.number("ema_decay", {.fallback = 0, .min = 0, .below = 1});
  s.precision = precision_setting(config).dtype;
  s.tf32 = precision_setting(config).tf32;
  if (s.precision == DType::f16)
    s.optimizer.loss_scaling = loss_scale_settings(train);
  else
    require_absent(train,
                   {"loss_scale", "loss_scale_growth", "loss_scale_backoff", "loss_scale_interval", "loss_scale_least"},
                   "a precision other than \"f16\"");
  s.seed = static_cast<uint64_t>(train.integer("seed", {.fallback = 1, .min = 0}));
  s.deterministic = train.boolean("deterministic", {.fallback = true});
  s.sums_by_sample = train.boolean("sums_by_sample", {.fallback = false});
  if (s.sums_by_sample && s.precision != DType::f32)
    throw train.error("sums_by_sample", "false with a precision of 16 bits, whose gradients are not summed in f64",
                      "true");
  s.capture = train.boolean("capture", {.fallback = true});
  s.checkpoint_every_steps = train.integer("checkpoint_every_steps", {.fallback = 0, .min = 0});
  s.checkpoint_every =
      train.integer32("checkpoint_every", {.fallback = s.checkpoint_every_steps > 0 ? 0 : 1, .min = 0});
  s.keep = train.integer32("keep", {.fallback = 3, .min = 1});
  s.log_every = train.integer32("log_every", {.fallback = 20, .min = 1});
  s.max_minutes = train.number("max_minutes", {.fallback = 0, .min = 0});
  s.precise_bn_batches = train.integer32("precise_bn_batches", {.fallback = 0, .min = 0});
  s.pretrained = train.text("pretrained", {.fallback = ""});
  s.pretrained_strict = train.boolean("pretrained_strict", {.fallback = true});
  parallel_settings(config, s);
  return s;
}

ValidateSettings validate_settings(const Config& config) {
  const Config validate = config.table("validate");
  ValidateSettings s;
  s.every_steps = validate.integer("every_steps", {.fallback = 0, .min = 0});
  s.every = validate.integer32("every", {.fallback = s.every_steps > 0 ? 0 : 1, .min = 0});
  s.limit = validate.integer("limit", {.fallback = 0, .min = 0});
  if (classifies(config)) {
    require_absent(validate, {"mode"}, "model.task = \"classification\"");
    s.best = validate.choice("best", {"top1", "top5"}, {.fallback = "top1"});
    return s;
  }
  s.crops = validate.choice("mode", {"whole", "crops"}, {.fallback = "whole"}) == "crops";
  s.best = validate.choice("best", {"miou", "pixel_accuracy"}, {.fallback = s.crops ? "pixel_accuracy" : "miou"});
  if (s.crops && s.best == "miou") throw validate.error("best", "pixel_accuracy with mode = \"crops\"", "\"miou\"");
  return s;
}

EvalSettings eval_settings(const Config& config) {
  const Config eval = config.table("eval");
  EvalSettings s;
  if (classifies(config)) {
    s.centre_crop = centre_crop_settings(eval);
    return s;
  }
  require_absent(eval, {"scale_size", "crop_size", "resample"}, "model.task = \"segmentation\"");
  const std::string average =
      eval.choice("average", {"log_probabilities", "logits", "probabilities"}, {.fallback = "log_probabilities"});
  s.average = average == "logits"          ? Average::logits
              : average == "probabilities" ? Average::probabilities
                                           : Average::log_probabilities;
  s.window = window_settings(eval);
  const std::string resize = eval.choice("resize", {"ratio", "base_size", "shortest_edge"}, {.fallback = "ratio"});
  if (resize != "base_size") require_absent(eval, {"base_size", "keep_ratio"}, "eval.resize = \"" + resize + "\"");
  if (resize != "shortest_edge") {
    require_absent(eval, {"sizes", "max_long_edge", "base_shortest_edge", "base_max_long_edge"},
                   "eval.resize = \"" + resize + "\"");
    s.scales = eval.numbers("scales",
                            {.fallback = std::vector<double>{1.0, 0.5, 0.75, 1.25, 1.5, 1.75}, .max = 8, .above = 0});
    if (resize == "base_size") s.base_size = base_size_settings(eval);
    return s;
  }
  require_absent(eval, {"scales"}, "eval.resize = \"shortest_edge\"");
  constexpr int64_t kMaxSide = 1 << 15;
  const auto edge = [&](const char* key, int64_t fallback) {
    return eval.integer32(key, {.fallback = fallback, .min = 0, .max = kMaxSide});
  };
  s.base = {edge("base_shortest_edge", 1024), edge("base_max_long_edge", 2048)};
  const int longest = edge("max_long_edge", 4096);
  for (const int64_t size : eval.integers(
           "sizes", {.fallback = std::vector<int64_t>{512, 768, 1024, 1280, 1536, 2048}, .min = 1, .max = kMaxSide}))
    s.edges.push_back({static_cast<int>(size), longest});
  if (s.edges.empty()) throw eval.error("sizes", "at least one size", "none");
  return s;
}

}  // namespace segrt::train
