#include "data/coco_stuff_convert.h"

#include <fmt/format.h>

#include <fstream>
#include <set>

#include "core/error.h"
#include "data/suffix_folders.h"

namespace segrt::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLabelSuffix = "_labelTrainIds.png";

Image convert_10k(const fs::path& source) {
  return relabel(source, read_coco_stuff_mat(source), coco_stuff_remap(CocoStuff::k10),
                 "class of COCO-Stuff 10k (0 to 182 without 12, 26, 29, 30, 45, 66, 68, 69, 71, 83 and 91)");
}
Image convert_164k(const fs::path& source) {
  return relabel(source, read_label(source), coco_stuff_remap(CocoStuff::k164),
                 "class of COCO-Stuff 164k (0 to 181 without 11, 25, 28, 29, 44, 65, 67, 68, 70, 82 and 90; or 255)");
}

std::vector<std::string> read_names(const fs::path& path) {
  if (fs::is_directory(path)) throw FileError(path.string() + ": is a folder");
  std::ifstream file(path);
  if (!file) throw FileError(path.string() + (fs::exists(path) ? ": cannot open" : ": no such file"));
  std::vector<std::string> names;
  std::set<std::string> taken;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (line.empty()) continue;
    if (line.find('/') != std::string::npos || line.starts_with('.'))
      throw FileError(fmt::format("{}: line {}: \"{}\" is no name of an image", path.string(), number, line));
    if (!taken.insert(line).second)
      throw FileError(fmt::format("{}: line {}: {} is there twice", path.string(), number, line));
    names.push_back(std::move(line));
  }
  if (file.bad()) throw FileError(path.string() + ": cannot read to the end");
  if (names.empty()) throw FileError(path.string() + ": names no images");
  return names;
}

void warn_of_count(Conversion& conversion, size_t published) {
  if (conversion.label_maps.size() != published)
    conversion.warnings.push_back(fmt::format("{}: {} images; the published data set has {}", conversion.split,
                                              conversion.label_maps.size(), published));
}

}  // namespace

Conversion CocoStuffConversion::plan_10k(const std::string& list, const std::string& split) const {
  Conversion conversion{.split = split};
  for (const std::string& name : read_names(root / "imageLists" / list)) {
    conversion.label_maps.push_back({.source = root / "annotations" / (name + ".mat"),
                                     .made = out / "annotations" / split / (name + kLabelSuffix),
                                     .convert = convert_10k});
    conversion.photos.push_back(
        {.source = root / "images" / (name + ".jpg"), .made = out / "images" / split / (name + ".jpg")});
  }
  return conversion;
}

Conversion CocoStuffConversion::plan_164k(const std::string& split) const {
  constexpr const char* kSuffix = ".png";
  Conversion conversion{.split = split};
  const fs::path folder = root / "annotations" / split;
  for (const std::string& name : list_by_suffix(folder, kSuffix)) {
    if (name.ends_with("TrainIds")) continue;  // made before, by this program or another
    conversion.label_maps.push_back({.source = folder / (name + kSuffix),
                                     .made = out / "annotations" / split / (name + kLabelSuffix),
                                     .convert = convert_164k});
    conversion.photos.push_back(
        {.source = root / "images" / split / (name + ".jpg"), .made = out / "images" / split / (name + ".jpg")});
  }
  if (conversion.label_maps.empty()) throw FileError(fmt::format("{}: holds no *{}", folder.string(), kSuffix));
  return conversion;
}

std::vector<Conversion> CocoStuffConversion::plan() const {
  std::vector<Conversion> conversions;
  if (release == CocoStuff::k10) {
    if (!can_read_coco_stuff_mat())
      throw Error(
          "COCO-Stuff 10k's annotations are MATLAB files, and libmatio, which reads them, was missing when this "
          "program was built (Debian: libmatio-dev)");
    conversions.push_back(plan_10k("train.txt", "train2014"));
    conversions.push_back(plan_10k("test.txt", "test2014"));
    warn_of_count(conversions[0], 9000);
    warn_of_count(conversions[1], 1000);
    return conversions;
  }
  require_folder(root / "annotations");
  for (const auto& [split, published] : {std::pair<const char*, size_t>{"train2017", 118287}, {"val2017", 5000}}) {
    if (!fs::is_directory(root / "annotations" / split)) continue;
    conversions.push_back(plan_164k(split));
    warn_of_count(conversions.back(), published);
  }
  if (conversions.empty()) throw FileError((root / "annotations").string() + ": holds neither train2017 nor val2017");
  return conversions;
}

}  // namespace segrt::data
