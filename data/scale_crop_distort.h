// The augmentation of DABNet and DGMN2, the common one of MMSegmentation: a random size, a random crop that is not all
// of one class, a random mirror, distorted colours, and padding with the mean colour.
#pragma once

#include "data/photometric.h"
#include "data/transform.h"

namespace segrt::data {

// The largest size of the aspect of height x width whose longer side is at most that of `base` and whose shorter side
// at most that of `base`: sides int(x * f + 0.5), f = min(longer of base / longer, shorter of base / shorter). At
// least 1. Which side of `base` is which makes no difference. Throws ArgumentError for a size below 1.
ImageSize fitted_size(int height, int width, ImageSize base);
// Each side int(n * ratio), at least 1.
ImageSize scaled_size(ImageSize size, double ratio);

// In this order:
// 1. resize to fitted_size in the base size times a ratio, sides truncated: OpenCV's bilinear rule on 8 bits for the
//    image and its nearest for the label (data/opencv_resize.h);
// 2. crop: a corner uniform over all places, y first. Where the largest class has cat_max_ratio or more of the crop's
//    labelled pixels, or is the only one, another is drawn, up to ten times; the last one is taken as it is. An axis
//    shorter than the crop stays whole;
// 3. mirror with probability 0.5;
// 4. photometric distortion (data/photometric.h);
// 5. padding below and to the right: Sample::content says what is image, and what is not becomes 0 after normalisation,
//    the mean colour; the label is 255 there.
class ScaleCropDistort final : public Transform {
 public:
  struct Options {
    ImageSize base{};  // {0, 0}: no resizing
    double min_ratio = 0.5, max_ratio = 2;
    int crop_height = 0, crop_width = 0;  // 0: no crop
    double cat_max_ratio = 0.75;          // 1: every corner will do
    bool flip = true, distort = true;
    uint8_t ignore_index = 255;  // label of pixels that do not count, and of the padding
  };
  // What was drawn for one sample. (y, x): corner of the crop in the resized image.
  struct Draws {
    double ratio = 1;
    int y = 0, x = 0;
    bool flip = false;
    PhotometricDraws colours{};
  };

  explicit ScaleCropDistort(const Options& options);  // throws ArgumentError for a value out of range
  const Options& options() const { return options_; }

  // In the order ratio, (y, x) for each try, flip, colours; nothing is drawn for a step that is off.
  Draws draw(const Sample& sample, Rng& rng) const;
  // Only the pixels that reach the crop are computed. Throws ArgumentError when image and label differ in size.
  Sample apply(const Sample& sample, const Draws& draws) const;
  Sample apply(Sample sample, Rng& rng) const override;

 private:
  ImageSize resized(const Sample& sample, double ratio) const;
  Window crop_window(ImageSize size, int y, int x) const;

  Options options_;
};

}  // namespace segrt::data
