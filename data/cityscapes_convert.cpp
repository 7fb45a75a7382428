#include "data/cityscapes_convert.h"

#include <fmt/format.h>

#include <string_view>

#include "core/error.h"
#include "data/cityscapes.h"
#include "data/cityscapes_files.h"
#include "data/cityscapes_polygons.h"

namespace segrt::data {
namespace {

namespace fs = std::filesystem;

std::string_view suffix_of(CityscapesConversion::From from) {
  return from == CityscapesConversion::From::polygons ? kCityscapesPolygons : kCityscapesLabelIds;
}

Image from_polygons(const fs::path& source) { return draw_train_ids(read_cityscapes_polygons(source)); }
Image from_label_ids(const fs::path& source) { return label_ids_to_train_ids(source, read_label(source)); }

}  // namespace

std::vector<std::string> CityscapesConversion::splits_of(const fs::path& root, From from) {
  const fs::path folder = root / "gtFine";
  require_folder(folder);
  std::vector<std::string> splits;
  for (const char* split : {"train", "val", "test"})
    if (fs::is_directory(folder / split) && !list_cityscapes(folder / split, suffix_of(from)).empty())
      splits.emplace_back(split);
  if (splits.empty())
    throw FileError(fmt::format("{}: holds no {{train,val,test}}/<city>/*{}", folder.string(), suffix_of(from)));
  return splits;
}

Conversion CityscapesConversion::plan() const {
  const fs::path folder = root / "gtFine" / split;
  const std::string_view suffix = suffix_of(from);
  const std::vector<CityscapesFrame> frames = list_cityscapes(folder, suffix);
  if (frames.empty()) throw FileError(fmt::format("{}: holds no <city>/*{}", folder.string(), suffix));
  Conversion conversion{.split = split, .list = root / (split + ".txt")};
  for (const CityscapesFrame& frame : frames) {
    conversion.label_maps.push_back({.source = folder / frame.path(suffix),
                                     .made = folder / frame.path(kCityscapesTrainIds),
                                     .convert = from == From::polygons ? from_polygons : from_label_ids});
    conversion.list_lines.push_back(frame.path(""));
  }
  return conversion;
}

}  // namespace segrt::data
