// The parts of PNG (ISO/IEC 15948) that stb_image does not give: stored palette indices, checksums, and a writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "data/image.h"

namespace segrt::data {

enum class PngColour : uint8_t { grey = 0, rgb = 2, palette = 3, grey_alpha = 4, rgba = 6 };

struct PngHeader {
  int width = 0, height = 0;
  int bits = 0;  // of one sample: 1, 2, 4, 8 or 16
  PngColour colour = PngColour::grey;
  bool interlaced = false;  // Adam7
  int channels() const;     // as stored: a palette image has 1
};

bool is_png(std::span<const uint8_t> bytes);

// Every function below throws FileError starting with `path`, which serves only for that.

// The first chunk, IHDR, with its checksum.
PngHeader read_png_header(const std::filesystem::path& path, std::span<const uint8_t> bytes);

// Walks all chunks to IEND and compares their checksums; stb_image looks at neither. Returns the compressed pixels, the
// concatenation of the IDAT chunks.
std::vector<uint8_t> check_png(const std::filesystem::path& path, std::span<const uint8_t> bytes);

// [height,width,1]: the stored values of a grey or palette image of at most 8 bits, neither expanded nor scaled.
Image decode_png_indices(const std::filesystem::path& path, std::span<const uint8_t> bytes);

// The file for 1 (grey, or with a palette its indices), 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels of 8 bits. Throws
// ArgumentError as write_png (data/image.h).
std::vector<uint8_t> encode_png(const std::filesystem::path& path, const Image& image,
                                std::span<const Rgb> palette = {});

}  // namespace segrt::data
