// The settings of a run, typed, from its TOML file. Every key is documented in docs/configuration.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/dtype.h"
#include "train/data_settings.h"
#include "train/optimizer.h"

namespace segrt::train {

// [train]
struct TrainSettings {
  int epochs = 0;
  int batch = 0;
  Sgd::Options optimizer;  // schedule.steps_per_unit and total are filled in by the trainer
  bool schedule_per_epoch = true;
  DType precision = DType::f32;  // of activations
  uint64_t seed = 1;             // of the initial weights
  bool deterministic = false;
  int checkpoint_every = 1;  // epochs
  int keep = 3;              // checkpoints beside the best
  int log_every = 20;        // steps
  double max_minutes = 0;    // stop cleanly after this much training; 0: no limit
  std::string pretrained;    // weights to start from
};
TrainSettings train_settings(const Config& config);

// [validate]: what happens during training after every `every` epochs.
struct ValidateSettings {
  int every = 1;
  bool crops = false;         // pixel accuracy on random crops (DRN's published recipe) in place of whole images
  std::string best = "miou";  // the score that picks the best checkpoint: "miou" or "pixel_accuracy"
  int64_t limit = 0;          // images; 0: all
};
ValidateSettings validate_settings(const Config& config);

// [eval]: the test procedure.
struct EvalSettings {
  std::vector<double> scales = {1};  // used by multi-scale evaluation
};
EvalSettings eval_settings(const Config& config);

}  // namespace segrt::train
