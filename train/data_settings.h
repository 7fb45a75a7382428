// [data]: where samples come from and how they are augmented. Every key is documented in docs/configuration.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>

#include "core/config.h"
#include "data/dataset.h"
#include "data/random_resized_crop.h"
#include "data/resize_crop.h"
#include "data/scale_crop_distort.h"
#include "data/transform.h"

namespace segrt::train {

struct DataSettings {
  // "list_folder", "cityscapes", "synthetic"; in classification "image_folder", "synthetic_shapes".
  std::string kind;
  int crop_height = 0, crop_width = 0;  // of every recipe; 0: none
  std::variant<data::TrainTransform::Options, data::ResizeCropTransform::Options, data::ScaleCropDistort::Options,
               data::RandomResizedCrop::Options>
      augment;
  int workers = 2;
  uint64_t seed = 1;  // of shuffling and augmentation
};
// Throws ConfigError, also for a key of the recipe that is not used.
DataSettings data_settings(const Config& config);

struct DatasetUse {
  bool needs_info = true;  // false: mean and std will not be asked for, so an info.json may be missing
};
// The dataset of `split`: "train", "val" or "test". Throws ConfigError, FileError.
std::unique_ptr<data::Dataset> make_dataset(const Config& config, const std::string& split, const DatasetUse& use = {});

// The recipe for training samples, and the one that only cuts random crops, for validation on them.
std::unique_ptr<data::Transform> make_train_transform(const DataSettings& settings);
std::unique_ptr<data::Transform> make_crop_transform(const DataSettings& settings);  // not with random_resized_crop

}  // namespace segrt::train
