// Augmentation: what a training recipe does to a sample between the file and the batch.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/random.h"
#include "data/dataset.h"
#include "data/geometry.h"

namespace segrt::data {

// A recipe. apply() is called from several threads at once and takes all its randomness from `rng`, which the loader
// makes from (seed, epoch, sample), so that results depend on nothing else.
class Transform {
 public:
  virtual ~Transform() = default;
  virtual Sample apply(Sample sample, Rng& rng) const = 0;
  virtual bool erases() const { return false; }  // whether samples may come with a rectangle to be erased
};

// Checks that recipes share; they throw ArgumentError. A crop has two sides > 0, or both are 0: none.
void require_crop(int height, int width);
void require_same_size(const Image& image, const Image& label);

// Whole images as they are.
class EvalTransform final : public Transform {
 public:
  Sample apply(Sample sample, Rng&) const override { return sample; }
};

// Random rotation, scale, crop and horizontal flip, in this order, as DRN was trained (Yu et al. 2017, its published
// code). Validation on random crops is the same with only a crop.
class TrainTransform final : public Transform {
 public:
  struct Options {
    int crop_height = 0, crop_width = 0;  // 0: no crop
    int random_rotate = 0;                // degrees A: whole angles uniform in [-A, A]; 0: none
    double random_scale = 0;              // S > 1: ratio uniform in [1/S, S]; 0: none
    bool flip = true;                     // with probability 0.5
    Padding image_padding = {.reflect = true, .value = 0};
    uint8_t label_fill = 255;  // around a label map that is rotated or smaller than the crop
  };
  // What was drawn for one sample. (y, x): corner of the crop in the rotated, scaled and padded image.
  struct Draws {
    double angle_degrees = 0, ratio = 1;
    int y = 0, x = 0;
    bool flip = false;
  };

  explicit TrainTransform(const Options& options);  // throws ArgumentError for a value out of range
  const Options& options() const { return options_; }

  // In the order angle, ratio, x, y, flip; nothing is drawn for a step that is off, nor a corner when both sides
  // already have the size of the crop.
  Draws draw(int height, int width, Rng& rng) const;
  // Only the pixels that reach the crop are computed. Throws ArgumentError when image and label differ in size.
  Sample apply(const Sample& sample, const Draws& draws) const;
  Sample apply(Sample sample, Rng& rng) const override;

 private:
  Options options_;
};

// Side length int(ratio * n), at least 1.
int scaled_length(int length, double ratio);
// 8-bit image at a ratio: Lanczos below 1, bicubic above, a copy at exactly 1.
Image scale_image(const Image& image, double ratio);
// The image at a scale of multi-scale testing: bicubic both ways.
Image scale_for_testing(const Image& image, double scale);

// y[h,w,c] = (x[h,w,c] / 255 - mean[c]) / std[c] in float32, with mean and std rounded to float32 first. Two true
// divisions, as published: products with reciprocals differ in the last bit. x has 3 channels.
std::vector<float> normalise(const Image& x, const std::array<double, 3>& mean, const std::array<double, 3>& std);

}  // namespace segrt::data
