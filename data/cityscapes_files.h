// The folders and names in which Cityscapes comes (Cordts et al. 2016):
//   <root>/leftImg8bit/<split>/<city>/<frame>_leftImg8bit.png                photos, 2048x1024
//   <root>/gtFine/<split>/<city>/<frame>_gtFine_polygons.json                annotations
//   <root>/gtFine/<split>/<city>/<frame>_gtFine_labelIds.png                 the same as label ids
//   <root>/gtFine/<split>/<city>/<frame>_gtFine_labelTrainIds.png            the same as train ids; not in the download
// with <split> train, val or test and <frame> like aachen_000000_000019.
#pragma once

#include <compare>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace segrt::data {

inline constexpr std::string_view kCityscapesImages = "_leftImg8bit.png";
inline constexpr std::string_view kCityscapesPolygons = "_gtFine_polygons.json";
inline constexpr std::string_view kCityscapesLabelIds = "_gtFine_labelIds.png";
inline constexpr std::string_view kCityscapesTrainIds = "_gtFine_labelTrainIds.png";

struct CityscapesFrame {
  std::string city, name;  // aachen, aachen_000000_000019
  auto operator<=>(const CityscapesFrame&) const = default;
  // "aachen/aachen_000000_000019_leftImg8bit.png"
  std::string path(std::string_view suffix) const { return city + "/" + name + std::string(suffix); }
};

// The frames that have a file <folder>/<city>/<frame><suffix>, sorted by city, then frame. Hidden files and folders are
// passed over. Throws FileError when the folder is missing or cannot be read.
std::vector<CityscapesFrame> list_cityscapes(const std::filesystem::path& folder, std::string_view suffix);

}  // namespace segrt::data
