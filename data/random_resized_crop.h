// What classifiers see of an image: a part of random area and aspect in training, the centre in testing. There are two
// rules for the part: that of torchvision in 2017 (0.1 and, but for the fallback, 0.2), with which DRN was trained, and
// the one that has replaced it everywhere since.
#pragma once

#include <optional>
#include <vector>

#include "data/rand_augment.h"
#include "data/random_erasing.h"
#include "data/resize_crop.h"
#include "data/transform.h"

namespace segrt::data {

// The size at which the shorter side is `shorter` and the other one int(shorter * longer / shorter side), truncated.
ImageSize shorter_side_size(int height, int width, int shorter);
// Begin of the centre `size` of `length` values: (length - size) / 2, an odd half rounded to the even neighbour:
// 341 and 224 give 58 (of 58.5), 343 and 224 give 60 (of 59.5).
int centre_begin(int length, int size);

// Up to ten times: a window of area a * u and aspect r, w = round(sqrt(a u r)), h = round(sqrt(a u / r)) (halves to
// even, at least 1), a the image's area, u uniform in [min_area, max_area], and
//   Aspect::uniform      r uniform in [3/4, 4/3]; w and h swapped with probability 0.5
//   Aspect::log_uniform  log r uniform in [log 3/4, log 4/3]
// The first that fits into the image is placed uniformly and resized to the crop. If none fits,
//   Aspect::uniform      the shorter side is resized to the crop's and the centre cut out
//   Aspect::log_uniform  the window is the largest part about the centre with an aspect of [3/4, 4/3]
// Then a mirror with probability 0.5. Resizing is Pillow's on 8 bits and sees nothing beyond the window. What follows
// is done where it is asked for: RandAugment, and the rectangle that is to be erased once the image is normalised.
class RandomResizedCrop final : public Transform {
 public:
  enum class Aspect : uint8_t { uniform, log_uniform };
  struct Options {
    int crop_height = 0, crop_width = 0;  // of the result; equal
    double min_area = 0.08, max_area = 1;
    bool flip = true;
    Aspect aspect = Aspect::uniform;
    Filter filter = Filter::bilinear;
    std::optional<RandAugment::Options> rand_augment = {};
    std::optional<RandomErasing::Options> erasing = {};
  };
  // What was drawn: the window, or the fallback.
  struct Draws {
    Window window;
    bool fallback = false, flip = false;
    std::vector<RandAugment::Operation> operations = {};
    Erasure erasure = {};
  };

  explicit RandomResizedCrop(const Options& options);  // throws ArgumentError for a value out of range
  const Options& options() const { return options_; }

  // In the order u, r, swap (Aspect::uniform alone) for each try, x and y for the one that fits, mirror, operators,
  // rectangle; nothing is drawn for what is off.
  Draws draw(int height, int width, Rng& rng) const;
  Sample apply(const Sample& sample, const Draws& draws) const;
  Sample apply(Sample sample, Rng& rng) const override;
  bool erases() const override { return options_.erasing.has_value(); }

 private:
  std::optional<Window> draw_window(int height, int width, Rng& rng) const;

  Options options_;
  std::optional<RandAugment> rand_augment_;
  std::optional<RandomErasing> erasing_;
};

// Shorter side to `scale_size`, then the centre crop_size x crop_size. Pillow's filter on 8 bits.
class CentreCrop final : public Transform {
 public:
  struct Options {
    int scale_size = 256, crop_size = 224;
    Filter filter = Filter::bilinear;
  };
  explicit CentreCrop(const Options& options);  // throws ArgumentError unless 0 < crop_size <= scale_size
  Image apply(const Image& image) const;
  Sample apply(Sample sample, Rng& rng) const override;

 private:
  Options options_;
};

}  // namespace segrt::data
