#include "data/random_resized_crop.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace segrt::data {
namespace {

constexpr double kMinAspect = 3.0 / 4.0, kMaxAspect = 4.0 / 3.0;
constexpr int kTries = 10;

// Halves to even, the default rounding mode.
int rounded_side(double side) { return std::max(static_cast<int>(std::nearbyint(side)), 1); }

// The largest window about the centre whose aspect is one of those that are drawn.
Window largest_centre(int height, int width) {
  Window w{.height = height, .width = width};
  const double aspect = static_cast<double>(width) / height;
  if (aspect < kMinAspect) w.height = rounded_side(width / kMinAspect);
  if (aspect > kMaxAspect) w.width = rounded_side(height * kMaxAspect);
  w.y = (height - w.height) / 2;
  w.x = (width - w.width) / 2;
  return w;
}

// The centre size x size of the image at which the shorter side is `shorter`; only its pixels are computed.
Image scaled_centre(const Image& image, int shorter, int size, Filter filter) {
  const ImageSize scaled = shorter_side_size(image.height, image.width, shorter);
  const Resizing resizing{image.height, image.width, scaled.height, scaled.width, filter};
  return resizing.apply(image, {0, 0, image.height, image.width},
                        {centre_begin(scaled.height, size), centre_begin(scaled.width, size), size, size});
}

Image part_of(const Image& image, const Window& window) {
  Image part(window.height, window.width, image.channels);
  const size_t begin = static_cast<size_t>(window.x) * static_cast<size_t>(image.channels);
  for (int y = 0; y < window.height; ++y) std::memcpy(part.row(y), image.row(window.y + y) + begin, part.row_bytes());
  return part;
}

}  // namespace

ImageSize shorter_side_size(int height, int width, int shorter) {
  if (height < 1 || width < 1 || shorter < 1)
    throw ArgumentError(
        fmt::format("shorter_side_size: expected sizes of at least 1, got {}x{} to {}", height, width, shorter));
  const auto longer = [shorter](int n, int side) { return static_cast<int>(int64_t{shorter} * n / side); };
  return width < height ? ImageSize{longer(height, width), shorter} : ImageSize{shorter, longer(width, height)};
}

int centre_begin(int length, int size) { return static_cast<int>(std::nearbyint((length - size) / 2.0)); }

RandomResizedCrop::RandomResizedCrop(const Options& options) : options_(options) {
  if (options.crop_height < 1 || options.crop_height != options.crop_width || options.crop_height > kMaxImageSide)
    throw ArgumentError(fmt::format("augmentation: random_resized_crop needs a square crop of 1..{}, got {}x{}",
                                    kMaxImageSide, options.crop_height, options.crop_width));
  if (!(options.min_area > 0 && options.min_area <= options.max_area && options.max_area <= 1))
    throw ArgumentError(fmt::format("augmentation: area of a crop must be in (0, 1], least first, got {} to {}",
                                    options.min_area, options.max_area));
  if (options.rand_augment) rand_augment_.emplace(*options.rand_augment);
  if (options.erasing) erasing_.emplace(*options.erasing);
}

std::optional<Window> RandomResizedCrop::draw_window(int height, int width, Rng& rng) const {
  const double image_area = static_cast<double>(height) * width;
  for (int i = 0; i < kTries; ++i) {
    const double area = rng.uniform(options_.min_area, options_.max_area) * image_area;
    const double aspect = options_.aspect == Aspect::uniform
                              ? rng.uniform(kMinAspect, kMaxAspect)
                              : std::exp(rng.uniform(std::log(kMinAspect), std::log(kMaxAspect)));
    int w = rounded_side(std::sqrt(area * aspect)), h = rounded_side(std::sqrt(area / aspect));
    if (options_.aspect == Aspect::uniform && rng.uniform() < 0.5) std::swap(w, h);
    if (w > width || h > height) continue;
    Window window{.height = h, .width = w};
    window.x = static_cast<int>(rng.integer(0, width - w));
    window.y = static_cast<int>(rng.integer(0, height - h));
    return window;
  }
  return std::nullopt;
}

RandomResizedCrop::Draws RandomResizedCrop::draw(int height, int width, Rng& rng) const {
  Draws draws;
  const std::optional<Window> window = draw_window(height, width, rng);
  if (window)
    draws.window = *window;
  else if (options_.aspect == Aspect::log_uniform)
    draws.window = largest_centre(height, width);
  else
    draws.fallback = true;
  if (options_.flip) draws.flip = rng.uniform() < 0.5;
  if (rand_augment_) draws.operations = rand_augment_->draw(rng);
  if (erasing_) draws.erasure = erasing_->draw(options_.crop_height, options_.crop_width, rng);
  return draws;
}

Sample RandomResizedCrop::apply(const Sample& sample, const Draws& draws) const {
  const int size = options_.crop_height;
  Image crop = draws.fallback ? scaled_centre(sample.image, size, size, options_.filter)
                              : resize(part_of(sample.image, draws.window), size, size, options_.filter);
  if (draws.flip) crop = flip_horizontal(crop);
  for (const RandAugment::Operation& operation : draws.operations) rand_augment_->apply(crop, operation);
  return {.image = std::move(crop), .label = {}, .name = sample.name, .erasure = draws.erasure};
}

Sample RandomResizedCrop::apply(Sample sample, Rng& rng) const {
  const Draws draws = draw(sample.image.height, sample.image.width, rng);
  return apply(sample, draws);
}

CentreCrop::CentreCrop(const Options& options) : options_(options) {
  if (options.crop_size < 1 || options.crop_size > options.scale_size || options.scale_size > kMaxImageSide)
    throw ArgumentError(fmt::format("centre crop: expected 1 <= crop_size <= scale_size <= {}, got {} and {}",
                                    kMaxImageSide, options.crop_size, options.scale_size));
}

Image CentreCrop::apply(const Image& image) const {
  return scaled_centre(image, options_.scale_size, options_.crop_size, options_.filter);
}

Sample CentreCrop::apply(Sample sample, Rng&) const {
  return {.image = apply(sample.image), .label = {}, .name = std::move(sample.name)};
}

}  // namespace segrt::data
