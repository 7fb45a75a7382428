#include "data/camvid_convert.h"

#include <fmt/format.h>

#include <map>

#include "core/error.h"
#include "data/suffix_folders.h"

namespace segrt::data {
namespace {

namespace fs = std::filesystem;

const std::map<std::string, size_t> kPublishedFrames = {{"train", 367}, {"val", 101}, {"test", 233}};

Image convert(const fs::path& source, CamvidClasses classes, bool strict, bool any_size) {
  const Image colours = read_image_as_rgb(source);
  if (!any_size && (colours.height != kCamvidHeight || colours.width != kCamvidWidth))
    throw FileError(fmt::format("{}: is {}x{}, but CamVid is {}x{} (width x height)", source.string(), colours.width,
                                colours.height, kCamvidWidth, kCamvidHeight));
  return camvid_train_ids(source, colours, classes, strict);
}

}  // namespace

std::vector<Conversion> CamvidConversion::plan() const {
  constexpr const char* kSuffix = "_L.png";
  require_folder(images);
  std::map<std::string, Conversion> by_split;
  for (const std::string& key : list_by_suffix(labels, kSuffix)) {
    const std::string frame = fs::path(key).filename().string();
    const fs::path source = labels / (key + kSuffix);
    const std::string its_split = split.empty() ? camvid_split(frame) : split;
    if (its_split.empty())
      throw FileError(source.string() + ": no frame of CamVid's by its name, so its split must be given");
    Conversion& conversion = by_split[its_split];
    conversion.label_maps.push_back(
        {.source = source,
         .made = out / "TrainID" / its_split / (frame + "_L_TrainID.png"),
         .convert = [classes = classes, strict = strict, any_size = any_size](const fs::path& path) {
           return convert(path, classes, strict, any_size);
         }});
    fs::path photo = images / (key + ".png");  // in a folder of the same name, or in none
    if (!fs::exists(photo)) photo = images / (frame + ".png");
    conversion.photos.push_back({.source = photo, .made = out / "images" / its_split / (frame + ".png")});
  }
  if (by_split.empty()) throw FileError(fmt::format("{}: holds no *{}", labels.string(), kSuffix));
  std::vector<Conversion> conversions;
  for (const auto& [name, published] : kPublishedFrames) {
    const auto found = by_split.find(name);
    if (found == by_split.end()) continue;
    Conversion& conversion = found->second;
    conversion.split = name;
    conversion.image_copy = image_copy;
    if (split.empty() && conversion.label_maps.size() != published)
      conversion.warnings.push_back(
          fmt::format("{}: {} frames; CamVid has {}", name, conversion.label_maps.size(), published));
    conversions.push_back(std::move(conversion));
  }
  return conversions;
}

}  // namespace segrt::data
