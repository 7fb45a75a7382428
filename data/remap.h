// New values for the values of label maps.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string_view>

#include "data/image.h"

namespace segrt::data {

using LabelMap = std::array<uint8_t, 256>;  // new value of each value

// A map of the values that a data set has; the others are errors in a file.
struct Remap {
  LabelMap to{};
  std::array<bool, 256> known{};

  void add(int from, int value) {
    to[static_cast<size_t>(from)] = static_cast<uint8_t>(value);
    known[static_cast<size_t>(from)] = true;
  }
};

// y[p] = map[x[p]]. Throws ArgumentError unless the image has one channel.
Image relabel(const Image& x, const LabelMap& map);

// The same, every value read from x and none twice. Throws FileError naming `path`, the first pixel and its value where
// one is not known: "...: value 34 at row 0, column 4 is no <what>".
Image relabel(const std::filesystem::path& path, const Image& x, const Remap& map, std::string_view what);

}  // namespace segrt::data
