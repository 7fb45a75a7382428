// Trains a segmentation network or a classifier as its TOML file says: data, forward, loss, backward, update;
// validation, checkpoints, resume.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/upload_ring.h"
#include "data/loader.h"
#include "kernels/elementwise.h"
#include "train/checkpoint.h"
#include "train/log.h"
#include "train/network_input.h"
#include "train/settings.h"
#include "train/training_step.h"

namespace segrt::train {

class Trainer {
 public:
  enum class Outcome : uint8_t { finished, stopped, out_of_time };
  using ModelBuilder = std::function<std::unique_ptr<models::Model>(const Config& model_table, nn::Init& init)>;

  // Builds model, datasets and optimizer. Throws ConfigError (also for keys that nobody reads), FileError.
  // Several processes train one network together, each on batches of train.batch: everybody calls the same functions,
  // and process 0 alone writes. `processes` must outlive the trainer; nullptr: this one alone.
  Trainer(const Config& config, Device& device, RunDirectory run, const ModelBuilder& build = models::build,
          Communicator* processes = nullptr);
  ~Trainer();

  // Continues from the run's latest checkpoint: same weights, momentum, step, and position in the data.
  void resume();

  // Trains to the last step, to max_minutes, or until stop_requested() is true after a step; a checkpoint is written
  // in every case. With several processes all stop after the same step, when one of them is asked to or its time is up.
  // Throws Error naming the step and the first bad tensor when the loss is not finite; nothing is
  // overwritten then.
  Outcome run(RunLog& log, const std::function<bool()>& stop_requested);

  models::Model& model() { return *model_; }
  const Progress& progress() const { return progress_; }
  // What a profile shows of several processes' messages; of one there are none.
  std::vector<ProfiledCommunicator> profiled() const {
    return parallel_ == nullptr ? std::vector<ProfiledCommunicator>() : parallel_->profiled();
  }
  // Told of every batch before it is trained on: the step, from 0, and the batch of this process.
  std::function<void(int64_t step, const data::Batch& batch)> see_batch;

 private:
  struct Window;  // what has happened since the last report

  void check_data() const;
  int size() const { return processes_ == nullptr ? 1 : processes_->size(); }
  bool first() const { return processes_ == nullptr || processes_->rank() == 0; }
  enum Stop : int64_t { kGoOn = 0, kOutOfTime = 1, kRequested = 2 };
  int64_t agreed_stop(bool requested);
  NetworkInput input_of(const std::shared_ptr<const data::Batch>& batch);
  void step(Window& window);
  void report(RunLog& log, Window& window);
  void tell_capture(RunLog& log);
  bool checks_each_step() const;
  void check_losses(const Window& window);
  void check_scaled_losses(const Window& window);
  void finish_epoch(RunLog& log);
  void renew_statistics(RunLog& log);
  std::map<std::string, double> scores_on_crops();
  std::map<std::string, double> validation_scores();
  bool validate(RunLog& log);
  void save(RunLog& log, bool is_best);

  Config config_;
  Device& device_;
  RunDirectory run_;
  DataSettings data_settings_;
  TrainSettings settings_;
  ValidateSettings validate_settings_;
  EvalSettings eval_settings_;
  std::unique_ptr<data::Dataset> train_set_, val_set_;
  std::unique_ptr<data::Transform> transform_, crop_transform_;
  std::unique_ptr<data::Loader> loader_;
  std::unique_ptr<models::Model> model_;
  Communicator* processes_;                 // null: one
  std::unique_ptr<DataParallel> parallel_;  // null: one
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<WeightAverage> average_;  // null: none
  std::unique_ptr<TrainingStep> step_;
  kernels::Normalization normalization_{};
  std::unique_ptr<UploadRing> uploads_;
  std::shared_ptr<const data::Batch> batch_;  // the last one
  int64_t total_steps_ = 0;
  Progress progress_;
  std::string notice_;         // for the log, once it is there
  std::string capture_note_;   // what the log has been told of capture
  int64_t skipped_steps_ = 0;  // by loss scaling, at the last report
  int64_t last_saved_step_ = -1, last_validated_step_ = -1;
};

}  // namespace segrt::train
