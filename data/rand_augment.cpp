#include "data/rand_augment.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "data/affine.h"
#include "data/colour_ops.h"

namespace segrt::data {
namespace {
constexpr double kMaxMagnitude = 10;
}

RandAugment::RandAugment(const Options& options) : options_(options) {
  if (options.operations < 0 || options.operations > 100)
    throw ArgumentError(fmt::format("rand_augment: operations must be in 0..100, got {}", options.operations));
  if (!(options.magnitude >= 0 && options.magnitude <= kMaxMagnitude && options.magnitude_std >= 0))
    throw ArgumentError(fmt::format("rand_augment: magnitude must be in [0, {}] and its deviation >= 0, got {} and {}",
                                    kMaxMagnitude, options.magnitude, options.magnitude_std));
  if (!(options.probability >= 0 && options.probability <= 1))
    throw ArgumentError(fmt::format("rand_augment: probability must be in [0, 1], got {}", options.probability));
}

std::vector<RandAugment::Operation> RandAugment::draw(Rng& rng) const {
  std::vector<Operation> drawn(static_cast<size_t>(options_.operations)), kept;
  for (Operation& o : drawn) o.kind = static_cast<Kind>(rng.integer(0, kKinds - 1));
  for (Operation& o : drawn) {
    if (rng.uniform() >= options_.probability) continue;
    o.magnitude = std::clamp(options_.magnitude + options_.magnitude_std * rng.normal(), 0.0, kMaxMagnitude);
    o.negative = rng.uniform() < 0.5;
    kept.push_back(o);
  }
  return kept;
}

void RandAugment::apply(Image& image, const Operation& operation) const {
  const double share = operation.magnitude / kMaxMagnitude, sign = operation.negative ? -1 : 1;
  const auto map = [&](const Affine& m) { image = affine_bicubic(image, m, options_.fill); };
  switch (operation.kind) {
    case Kind::autocontrast: return autocontrast(image);
    case Kind::equalize: return equalize(image);
    case Kind::invert: return invert(image);
    case Kind::rotate: return map(rotation_about_centre(sign * (share * 30), image.height, image.width));
    case Kind::posterize: return posterize(image, 4 - static_cast<int>(share * 4));
    case Kind::solarize: return solarize(image, 256 - static_cast<int>(share * 256));
    case Kind::solarize_add: return solarize_add(image, static_cast<int>(share * 110));
    case Kind::colour: return adjust_colour(image, 1 + sign * (share * 0.9));
    case Kind::contrast: return adjust_contrast(image, 1 + sign * (share * 0.9));
    case Kind::brightness: return adjust_brightness(image, 1 + sign * (share * 0.9));
    case Kind::sharpness: return adjust_sharpness(image, 1 + sign * (share * 0.9));
    case Kind::shear_x: return map({.b = sign * (share * 0.3)});
    case Kind::shear_y: return map({.d = sign * (share * 0.3)});
    case Kind::translate_x: return map({.c = sign * (share * 0.45) * image.width});
    case Kind::translate_y: return map({.f = sign * (share * 0.45) * image.height});
  }
}

void RandAugment::apply(Image& image, Rng& rng) const {
  for (const Operation& o : draw(rng)) apply(image, o);
}

}  // namespace segrt::data
