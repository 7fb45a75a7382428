// COCO-Stuff as published, as data/coco_stuff.h reads it.
//   10k    <root>/images/<name>.jpg, annotations/<name>.mat, imageLists/{train,test}.txt (a name a line)
//   164k   <root>/images/{train2017,val2017}/<name>.jpg, annotations/{train2017,val2017}/<name>.png
#pragma once

#include <filesystem>
#include <vector>

#include "data/coco_stuff.h"
#include "data/conversion.h"

namespace segrt::data {

struct CocoStuffConversion {
  CocoStuff release = CocoStuff::k10;
  std::filesystem::path root{}, out{};  // may be the same
  ImageCopy image_copy = ImageCopy::link;

  // One a split. A tree of another number of files than the published one has (10,000; 118,287 and 5,000) gets a
  // warning. Throws FileError for folders and lists that are missing or empty, and for a list that names something
  // twice or something that is no name; Error for 10k in a build without libmatio.
  std::vector<Conversion> plan() const;

 private:
  Conversion plan_10k(const std::string& list, const std::string& split) const;
  Conversion plan_164k(const std::string& split) const;
};

}  // namespace segrt::data
