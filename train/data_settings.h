// [data]: where samples come from and how they are augmented. Every key is documented in docs/configuration.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>

#include "core/config.h"
#include "data/dataset.h"
#include "data/resize_crop.h"
#include "data/transform.h"

namespace segrt::train {

struct DataSettings {
  std::string kind;                     // "list_folder", "cityscapes" or "synthetic"
  int crop_height = 0, crop_width = 0;  // of either recipe; 0: none
  std::variant<data::TrainTransform::Options, data::ResizeCropTransform::Options> augment;
  int workers = 2;
  uint64_t seed = 1;  // of shuffling and augmentation
};
// Throws ConfigError, also for a key of the recipe that is not used.
DataSettings data_settings(const Config& config);

// The dataset of `split`: "train", "val" or "test". Throws ConfigError, FileError.
std::unique_ptr<data::Dataset> make_dataset(const Config& config, const std::string& split);

// The recipe for training samples, and the one that only cuts random crops, for validation on them.
std::unique_ptr<data::Transform> make_train_transform(const DataSettings& settings);
std::unique_ptr<data::Transform> make_crop_transform(const DataSettings& settings);

}  // namespace segrt::train
