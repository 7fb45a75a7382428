// [data]: where samples come from and how they are augmented. Every key is documented in docs/configuration.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/config.h"
#include "data/dataset.h"
#include "data/random_resized_crop.h"
#include "data/resize_crop.h"
#include "data/scale_crop_distort.h"
#include "data/transform.h"

namespace segrt::train {

struct DataSettings {
  std::string kind;                     // dataset_kind
  int crop_height = 0, crop_width = 0;  // of every recipe; 0: none
  std::variant<data::TrainTransform::Options, data::ResizeCropTransform::Options, data::ScaleCropDistort::Options,
               data::RandomResizedCrop::Options>
      augment;
  int repeats = 1;  // uses of a sample in a row in an epoch's order
  int workers = 2;
  uint64_t seed = 1;  // of shuffling and augmentation
};
// Throws ConfigError, also for a key of the recipe that is not used.
DataSettings data_settings(const Config& config);

// data.kind: "list_folder", "cityscapes", "camvid", "coco_stuff10k", "coco_stuff164k", "synthetic"; in classification
// "image_folder", "synthetic_shapes". Throws ConfigError.
std::string dataset_kind(const Config& config);

struct DatasetUse {
  bool needs_info = true;  // false: mean and std will not be asked for, so an info.json may be missing
  bool cache = true;       // false: the files themselves are read, whatever data.cache says
  std::vector<std::string>* problems = nullptr;  // data::report_missing
};
// The dataset of `split`: "train", "val", "test" or "trainval" (data.train_split and data.val_split may make the first
// two others). Throws ConfigError, FileError, ArgumentError for a split that the kind does not have.
std::unique_ptr<data::Dataset> make_dataset(const Config& config, const std::string& split, const DatasetUse& use = {});

// The recipe for training samples, and the one that only cuts random crops, for validation on them.
std::unique_ptr<data::Transform> make_train_transform(const DataSettings& settings);
std::unique_ptr<data::Transform> make_crop_transform(const DataSettings& settings);  // not with random_resized_crop

}  // namespace segrt::train
