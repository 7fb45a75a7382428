// 8-bit images in host memory and the files they come from.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace segrt::data {

using Rgb = std::array<uint8_t, 3>;

struct ImageSize {
  int height = 0, width = 0;
  bool operator==(const ImageSize&) const = default;
};

// pixels [height,width,channels], rows from the top. Photos have 3 channels (RGB), label maps 1 (class indices).
struct Image {
  int height = 0, width = 0, channels = 0;
  std::vector<uint8_t> pixels;

  Image() = default;
  Image(int h, int w, int c)  // all zero
      : height(h), width(w), channels(c), pixels(row_bytes() * static_cast<size_t>(h)) {}

  bool empty() const { return pixels.empty(); }
  size_t row_bytes() const { return static_cast<size_t>(width) * static_cast<size_t>(channels); }
  uint8_t* row(int y) { return pixels.data() + static_cast<size_t>(y) * row_bytes(); }
  const uint8_t* row(int y) const { return pixels.data() + static_cast<size_t>(y) * row_bytes(); }
  bool operator==(const Image&) const = default;
};

// Sides and pixels above which a file is refused before anything is decoded: a few bytes can claim gigabytes.
inline constexpr int kMaxImageSide = 32767;              // also the limit of the 16.16 arithmetic of nearest rotation
inline constexpr int64_t kMaxImagePixels = 178'956'970;  // 512 MiB of RGB

// All functions below throw FileError; its message is "<path>: <cause>".

// A photo: JPEG or PNG with three 8-bit channels. Other channel counts (grey, alpha) and 16-bit samples
// are refused rather than converted: a network trained on RGB would silently see something else. A JPEG whose Exif note
// says which way up it is comes that way up.
Image read_image(const std::filesystem::path& path);

// A photo of a collection that holds a few of other kinds: as RGB whatever it was. Grey is repeated in
// the three channels, palettes are looked up, alpha is dropped, the inverted CMYK and YCCK of JPEGs with Adobe's marker
// becomes c*k/255 a channel. Refused are 16-bit PNGs, and JPEGs of four components without that marker. Classifiers
// were trained on photos as they are stored, whatever Exif says; COCO's are to be seen upright.
enum class Orientation : uint8_t { stored, upright };
Image read_image_as_rgb(const std::filesystem::path& path, Orientation orientation = Orientation::stored);

// A label map: PNG with 1, 2, 4 or 8 bits, grey or palette. Values are those stored: indices, never palette colours.
Image read_label(const std::filesystem::path& path);

// Height, width, channels (a palette PNG has 1) and Exif's orientation (data/exif.h) as stored, without decoding.
struct ImageInfo {
  int height = 0, width = 0, channels = 0, orientation = 1;
};
ImageInfo read_image_info(const std::filesystem::path& path);

// Writes 1 (grey), 3 (RGB) or 4 (RGBA) channels, missing folders included. With a palette, the values of an image of
// 1 channel are indices into it, and viewers show its colours; read_label gives the indices back. The file appears
// under its name only when it is complete. Throws ArgumentError for another image beside a palette, a palette of more
// than 256 colours, and a value that has none.
void write_png(const std::filesystem::path& path, const Image& image, std::span<const Rgb> palette = {});

}  // namespace segrt::data
