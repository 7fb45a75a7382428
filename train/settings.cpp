#include "train/settings.h"

#include <algorithm>

#include "core/error.h"

namespace segrt::train {
namespace {
using kernels::LrSchedule;

LrSchedule schedule_settings(const Config& train) {
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
  s.min_lr = train.number("min_lr", {.fallback = 0, .min = 0});
  s.warmup_steps = train.integer("warmup_steps", {.fallback = 0, .min = 0});
  s.warmup_factor = train.number("warmup_factor", {.fallback = 0, .min = 0, .max = 1});
  return s;
}
}  // namespace

TrainSettings train_settings(const Config& config) {
  const Config train = config.table("train");
  TrainSettings s;
  s.epochs = train.integer32("epochs", {.min = 1});
  s.batch = train.integer32("batch", {.min = 1});
  train.choice("optimizer", {"sgd"}, {.fallback = "sgd"});
  s.optimizer.schedule = schedule_settings(train);
  s.schedule_per_epoch = train.choice("schedule_per", {"epoch", "iteration"}, {.fallback = "epoch"}) == "epoch";
  s.optimizer.sgd.momentum = static_cast<float>(train.number("momentum", {.fallback = 0.9, .min = 0, .below = 1}));
  s.optimizer.sgd.nesterov = train.boolean("nesterov", {.fallback = false});
  s.optimizer.weight_decay = train.number("weight_decay", {.fallback = 1e-4, .min = 0});
  s.optimizer.clip_norm = train.number("clip_norm", {.fallback = 0, .min = 0});
  s.precision = parse_dtype(train.choice("precision", {"f32", "bf16"}, {.fallback = "f32"}));
  s.seed = static_cast<uint64_t>(train.integer("seed", {.fallback = 1, .min = 0}));
  s.deterministic = train.boolean("deterministic", {.fallback = true});
  s.checkpoint_every = train.integer32("checkpoint_every", {.fallback = 1, .min = 1});
  s.keep = train.integer32("keep", {.fallback = 3, .min = 1});
  s.log_every = train.integer32("log_every", {.fallback = 20, .min = 1});
  s.max_minutes = train.number("max_minutes", {.fallback = 0, .min = 0});
  s.pretrained = train.text("pretrained", {.fallback = ""});
  return s;
}

ValidateSettings validate_settings(const Config& config) {
  const Config validate = config.table("validate");
  ValidateSettings s;
  s.every = validate.integer32("every", {.fallback = 1, .min = 1});
  s.crops = validate.choice("mode", {"whole", "crops"}, {.fallback = "whole"}) == "crops";
  s.best = validate.choice("best", {"miou", "pixel_accuracy"}, {.fallback = s.crops ? "pixel_accuracy" : "miou"});
  if (s.crops && s.best == "miou") throw validate.error("best", "pixel_accuracy with mode = \"crops\"", "\"miou\"");
  s.limit = validate.integer("limit", {.fallback = 0, .min = 0});
  return s;
}

EvalSettings eval_settings(const Config& config) {
  const Config eval = config.table("eval");
  return {.scales = eval.numbers(
              "scales", {.fallback = std::vector<double>{1.0, 0.5, 0.75, 1.25, 1.5, 1.75}, .max = 8, .above = 0})};
}

}  // namespace segrt::train
