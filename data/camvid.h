// CamVid (Brostow et al. 2009) at its own size, 960x720, with its labels as colours of 32 classes, and what DABNet and
// SegNet make of them: 11 classes, camvid_labels().
//   <root>/images/<split>/<frame>.png    <root>/TrainID/<split>/<frame>_L_TrainID.png      <split>: train, val, test
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"

namespace segrt::data {

inline constexpr int kCamvidHeight = 720, kCamvidWidth = 960;

// Which of the 32 colours are the 11 classes: 11 of them, all else being ignored (as DABNet was trained); or groups, as
// in the labels published with SegNet (a truck is a car, lane markings are road).
enum class CamvidClasses : uint8_t { exact, segnet };

// Colours [h,w,3] -> classes [h,w,1], 255 for what is none. A colour that CamVid does not have becomes 255 as well or,
// if `strict`, is a FileError naming `path`, the pixel and the colour.
Image camvid_train_ids(const std::filesystem::path& path, const Image& colours, CamvidClasses classes, bool strict);

// The split ("train", "val", "test": 367, 101, 233 frames) that a frame of the whole data set belongs to, by its name:
// SegNet's, which everybody uses. "" for a name that is none of CamVid's.
std::string camvid_split(std::string_view frame);

struct CamvidOptions {
  std::filesystem::path root{};
  std::string split = "train";  // train, val, test, trainval
  bool needs_info = true;       // as SuffixFolders
  std::vector<std::string>* problems = nullptr;
};
std::unique_ptr<Dataset> open_camvid(const CamvidOptions& options);

}  // namespace segrt::data
