// Files of a training run. A checkpoint is a safetensors file: the model's weights under their upstream names and
// layout, so that it serves as a weight file for anyone, and what training needs to go on under "train/". Where weights
// are averaged, the averages are what others want: they have the upstream names, and the weights that training goes on
// from are under "train/weights/".
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "core/config.h"
#include "data/dataset.h"
#include "models/model.h"
#include "train/dataset_card.h"
#include "train/optimizer.h"
#include "train/weight_average.h"

namespace segrt::train {

// Where training stands, beside the tensors.
struct Progress {
  int epoch = 0;  // the next batch to train on: epoch and position in it
  int64_t batch = 0;
  int64_t step = 0;        // updates done
  double best_score = -1;  // of the validation score that picks the best checkpoint
  int best_epoch = -1;
  int64_t step_images = 0;   // images of a step, of all processes; 0: not known
  double train_seconds = 0;  // time spent training, over all starts
};

inline constexpr const char* kTrainPrefix = "train/";
inline constexpr const char* kWeightsPrefix = "train/weights/";

// Writes weights, their averages (nullptr: there are none), optimizer state, progress, the configuration and the
// dataset's card; atomic. Throws FileError.
void save_checkpoint(const std::filesystem::path& path, models::Model& model, const Optimizer& optimizer,
                     const Progress& progress, const Config& config, const DatasetCard& card,
                     const WeightAverage* average = nullptr);

// Restores everything. The model must be the one that was saved. Averages start from the weights where the file has
// none, and those of the file are left there where nobody wants any. Throws FileError.
Progress load_checkpoint(const std::filesystem::path& path, models::Model& model, Optimizer& optimizer,
                         WeightAverage* average = nullptr);
// Whether a checkpoint's weights are averages.
bool has_averages(const std::filesystem::path& path);

// Weights alone, from a checkpoint or any file with this model's weights, safetensors or PyTorch's
// (core/open_weights.h). Throws FileError that lists what does not fit; not strict, loads what fits and returns a text
// that lists the rest ("" where everything fits).
std::string load_weights(const std::filesystem::path& path, models::Model& model, bool strict = true);
// Weights to start training from: of the same model, or of one that model.pretrained_name maps to (a classifier). A
// final layer with another number of classes stays as initialised. Returns a line for the log; not strict as above.
std::string load_pretrained(const std::filesystem::path& path, models::Model& model, bool strict = true);

// The card of the dataset, and the configuration, that a checkpoint was trained with. Throw FileError for a file
// without one.
DatasetCard checkpoint_card(const std::filesystem::path& path);
Config checkpoint_config(const std::filesystem::path& path, std::span<const std::string> overrides = {});

// A run's folder: config.toml, checkpoints/step_00001234.safetensors, checkpoints/latest.safetensors (a link to the
// newest), checkpoints/best.safetensors, log.jsonl, TensorBoard events.
class RunDirectory {
 public:
  explicit RunDirectory(std::filesystem::path path) : path_(std::move(path)) {}
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path config() const { return path_ / "config.toml"; }
  std::filesystem::path latest() const { return path_ / "checkpoints" / "latest.safetensors"; }
  std::filesystem::path best() const { return path_ / "checkpoints" / "best.safetensors"; }
  std::filesystem::path numbered(int64_t step) const;

  // Creates the folder and writes config.toml. Throws FileError.
  void create(const Config& config) const;
  // After numbered(step) has been written: points latest at it, copies it to best if wanted, removes all but the newest
  // `keep`.
  void publish(int64_t step, bool is_best, int keep) const;

 private:
  std::filesystem::path path_;
};

// Held while a process trains in a run's folder, so that a second one does not write among its files. The folder is
// created; the system lets go of the lock when the process ends, however it ends. Throws FileError when another process
// holds it.
class RunLock {
 public:
  explicit RunLock(const RunDirectory& run);
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;
  ~RunLock();

 private:
  int fd_ = -1;
};

// The run under `runs` whose latest checkpoint is the newest; none when there is no run.
std::optional<RunDirectory> newest_run(const std::filesystem::path& runs);
// What a user named: a run directory (its best checkpoint, or the latest where there is no best) or a file. Throws
// FileError.
std::filesystem::path find_checkpoint(const std::filesystem::path& run_or_file);

}  // namespace segrt::train
