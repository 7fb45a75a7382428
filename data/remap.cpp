#include "data/remap.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "core/error.h"

namespace segrt::data {

Image relabel(const Image& x, const LabelMap& map) {
  if (x.channels != 1)
    throw ArgumentError("relabel: expected a label map of 1 channel, got " + std::to_string(x.channels));
  Image y(x.height, x.width, 1);
  for (size_t i = 0; i < x.pixels.size(); ++i) y.pixels[i] = map[x.pixels[i]];
  return y;
}

Image relabel(const std::filesystem::path& path, const Image& x, const Remap& map, std::string_view what) {
  const auto bad = std::find_if(x.pixels.begin(), x.pixels.end(), [&](uint8_t v) { return !map.known[v]; });
  if (bad != x.pixels.end()) {
    const auto at = static_cast<int64_t>(bad - x.pixels.begin());
    throw FileError(fmt::format("{}: value {} at row {}, column {} is no {}", path.string(), *bad, at / x.width,
                                at % x.width, what));
  }
  return relabel(x, map.to);
}

}  // namespace segrt::data
