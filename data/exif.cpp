#include "data/exif.h"

#include <algorithm>
#include <string_view>

namespace segrt::data {
namespace {

// A TIFF structure, of either byte order. Reads beyond its end give 0.
class Tiff {
 public:
  explicit Tiff(std::span<const uint8_t> bytes) : bytes_(bytes) {
    constexpr std::string_view kLittle("II*\0", 4), kBig("MM\0*", 4);
    little_ = begins_with(kLittle);
    valid_ = little_ || begins_with(kBig);
  }
  bool valid() const { return valid_; }
  uint32_t read(size_t offset, size_t count) const {
    if (offset > bytes_.size() || count > bytes_.size() - offset) return 0;
    uint32_t value = 0;
    for (size_t i = 0; i < count; ++i) value = value << 8 | bytes_[offset + (little_ ? count - 1 - i : i)];
    return value;
  }

 private:
  bool begins_with(std::string_view text) const {
    return bytes_.size() >= text.size() && std::equal(text.begin(), text.end(), bytes_.begin());
  }

  std::span<const uint8_t> bytes_;
  bool little_ = false, valid_ = false;
};

}  // namespace

int exif_orientation(std::span<const uint8_t> segment) {
  constexpr std::string_view kExif("Exif\0\0", 6);
  constexpr uint32_t kOrientation = 0x0112, kShort = 3;
  if (segment.size() < kExif.size() || !std::equal(kExif.begin(), kExif.end(), segment.begin())) return 1;
  const Tiff tiff(segment.subspan(kExif.size()));
  if (!tiff.valid()) return 1;
  const size_t directory = tiff.read(4, 4);
  const size_t entries = tiff.read(directory, 2);
  for (size_t i = 0; i < entries; ++i) {  // of 12 bytes: tag, type, count, value
    const size_t entry = directory + 2 + 12 * i;
    if (tiff.read(entry, 2) != kOrientation) continue;
    const uint32_t value = tiff.read(entry + 8, 2);
    return tiff.read(entry + 2, 2) == kShort && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image upright(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  const bool swap = orientation >= 5;
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image turned(swap ? image.width : image.height, swap ? image.height : image.width, image.channels);
  for (int y = 0; y < turned.height; ++y)
    for (int x = 0; x < turned.width; ++x) {
      const int row = swap ? x : y, column = swap ? y : x;
      const uint8_t* from = image.row(from_below ? image.height - 1 - row : row) +
                            (from_right ? image.width - 1 - column : column) * image.channels;
      std::copy_n(from, image.channels, turned.row(y) + x * image.channels);
    }
  return turned;
}

}  // namespace segrt::data
