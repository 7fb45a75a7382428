// The settings of a run, typed, from its TOML file. Every key is documented in docs/configuration.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/dtype.h"
#include "data/batch_mix.h"
#include "data/random_resized_crop.h"
#include "train/data_parallel.h"
#include "train/data_settings.h"
#include "train/optimizer.h"
#include "train/sliding_window.h"
#include "train/test_size.h"

namespace segrt::train {

// [train]
struct TrainSettings {
  int epochs = 0;          // the length of training: either this
  int64_t iterations = 0;  // or this is set, the other 0
  int batch = 0;
  bool drop_last = true;         // of an epoch: the batch that is not full; kept by default in classification
  Optimizer::Options optimizer;  // schedule.steps_per_unit and total are filled in by the trainer
  bool schedule_per_epoch = true;
  data::MixOptions mix;          // classification
  double label_smoothing = 0;    // classification
  double ema_decay = 0;          // of the moving averages of the weights; 0: there are none
  DType precision = DType::f32;  // of activations
  bool tf32 = false;             // f32 products in TF32 on a GPU
  uint64_t seed = 1;             // of the initial weights
  bool deterministic = false;
  bool sums_by_sample = false;  // Device::sums_by_sample
  bool capture = true;                 // whole steps as graphs, on devices that have them
  int checkpoint_every = 1;            // epochs; 0: off
  int64_t checkpoint_every_steps = 0;  // 0: off
  int keep = 3;                        // checkpoints beside the best
  int precise_bn_batches = 0;          // of training data that give the final running statistics; 0: off
  int log_every = 20;                  // steps
  double max_minutes = 0;              // stop cleanly after this much training; 0: no limit
  std::string pretrained;              // weights to start from
  bool pretrained_strict = true;       // an error where they do not fit
  DataParallel::Options parallel;      // of several processes
  double comm_timeout_s = 600;         // of a wait for another process
};
TrainSettings train_settings(const Config& config);

// [validate]: what happens during training after every `every` epochs and `every_steps` steps (0: never) and at its
// end.
struct ValidateSettings {
  int every = 1;
  int64_t every_steps = 0;
  bool crops = false;  // pixel accuracy on random crops (DRN's published recipe) in place of whole images
  // The score that picks the best checkpoint: "miou" or "pixel_accuracy"; in classification "top1" or "top5".
  std::string best = "miou";
  int64_t limit = 0;  // images; 0: all
};
ValidateSettings validate_settings(const Config& config);

// What is averaged over the passes of an evaluation.
enum class Average : uint8_t { log_probabilities, logits, probabilities };

// [eval]: the test procedure. Scales or edges, whichever are not empty, are the passes of multi-scale evaluation.
struct EvalSettings {
  Average average = Average::log_probabilities;
  std::vector<double> scales = {1};
  std::vector<ShortestEdge> edges = {};
  ShortestEdge base = {};                      // what every image is resized to first
  BaseSize base_size = {};                     // what scales are ratios of; empty: of the image
  std::optional<SlidingWindow> window = {};    // each pass in windows
  data::CentreCrop::Options centre_crop = {};  // classification: all there is
};
EvalSettings eval_settings(const Config& config);

}  // namespace segrt::train
