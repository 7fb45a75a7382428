// CamVid's frames and colours (701_StillsRaw_full, LabeledApproved_full) as data/camvid.h reads them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/camvid.h"
#include "data/conversion.h"

namespace segrt::data {

struct CamvidConversion {
  std::filesystem::path images{}, labels{};  // hold <frame>.png and <frame>_L.png, in folders of any depth
  std::filesystem::path out{};
  std::string split{};  // all frames are of this one; empty: each of its own (camvid_split)
  CamvidClasses classes = CamvidClasses::exact;
  bool strict = false;    // a colour that is none of CamVid's is an error
  bool any_size = false;  // label maps need not be 960x720
  ImageCopy image_copy = ImageCopy::link;

  // One a split. Throws FileError for folders that are missing or empty, and for a frame whose name has no split.
  std::vector<Conversion> plan() const;
};

}  // namespace segrt::data
