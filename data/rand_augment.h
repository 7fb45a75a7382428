// RandAugment (Cubuk et al. 2019, arXiv:1909.13719) in the form in which vision transformers are trained: every
// operator grows stronger with the magnitude.
#pragma once

#include <cstdint>
#include <vector>

#include "core/random.h"
#include "data/image.h"

namespace segrt::data {

class RandAugment {
 public:
  struct Options {
    int operations = 2;  // drawn for an image, with replacement
    double magnitude = 9, magnitude_std = 0.5;
    double probability = 0.5;    // with which each of them is applied
    Rgb fill = {124, 116, 104};  // what geometric operators show beyond the image
  };
  enum class Kind : uint8_t {
    autocontrast,
    equalize,
    invert,
    rotate,
    posterize,
    solarize,
    solarize_add,
    colour,
    contrast,
    brightness,
    sharpness,
    shear_x,
    shear_y,
    translate_x,
    translate_y
  };
  static constexpr int kKinds = 15;
  // m in [0, 10]; `negative`: the sign of operators that have one.
  struct Operation {
    Kind kind = Kind::autocontrast;
    double magnitude = 0;
    bool negative = false;
    bool operator==(const Operation&) const = default;
  };

  explicit RandAugment(const Options& options);  // throws ArgumentError for a value out of range
  const Options& options() const { return options_; }

  // Those to be applied, in order. Drawn: all kinds; then for each its coin and, where it is applied, magnitude
  // (normal, clipped to [0, 10]) and sign.
  std::vector<Operation> draw(Rng& rng) const;
  // autocontrast, equalize, invert: no magnitude. rotate: +-3m degrees, counter-clockwise. posterize: 4 - int(0.4 m)
  // bits. solarize: from 256 - int(25.6 m) on. solarize_add: int(11 m) below 128. colour, contrast, brightness,
  // sharpness: factor 1 +- 0.09 m. shear_x (shear_y): x += +-0.03 m y. translate_x (translate_y): the image moves by
  // -+0.045 m of its side. Geometric ones sample bicubically (data/affine.h).
  void apply(Image& image, const Operation& operation) const;
  void apply(Image& image, Rng& rng) const;

 private:
  Options options_;
};

}  // namespace segrt::data
