// Checks of a JPEG file (ITU-T T.81) before stb_image decodes it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

namespace segrt::data {

bool is_jpeg(std::span<const uint8_t> bytes);

struct JpegHeader {
  int components = 0;   // 1 grey, 3 YCbCr or RGB, 4 CMYK or YCCK (stb_image reports 3 for these)
  int orientation = 1;  // Exif's, data/exif.h
  bool adobe = false;   // has Adobe's marker, which says that four components are CMYK (0) or YCCK (2)
};
// stb_image trusts more than a damaged file deserves: it shows what is missing of a truncated file as grey, writes
// beyond its arrays for a Huffman table of more than 256 symbols, and decodes with tables that the file never defined.
// This walks all segments and throws FileError ("<path>: <cause>") unless there is one frame, every table has a legal
// size and is defined before the scan that uses it, and the end marker is there.
JpegHeader check_jpeg(const std::filesystem::path& path, std::span<const uint8_t> bytes);

}  // namespace segrt::data
