// What a loader reads: numbered samples with one label table.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "data/image.h"
#include "data/label_table.h"

namespace segrt::data {

struct Sample {
  Image image;       // [h,w,3] RGB
  Image label;       // [h,w,1] class indices or the ignore index; empty where there is no ground truth
  std::string name;  // path relative to the data folder, or another name that is unique in the dataset
};

class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual const std::string& name() const = 0;  // for messages: "camvid/train"
  virtual int64_t size() const = 0;
  // Sample `index` of [0, size()), the same every time. Called from several threads at once.
  virtual Sample load(int64_t index) const = 0;
  virtual const LabelTable& classes() const = 0;
  virtual bool has_labels() const { return true; }
  // Of the training images' pixels, per RGB channel, in units of [0, 1].
  virtual std::array<double, 3> mean() const = 0;
  virtual std::array<double, 3> std() const = 0;
};

}  // namespace segrt::data
