// COCO-Stuff (Caesar et al. 2018): 171 classes of things and stuff, coco_stuff_labels(). 10k is version 1.1 of the
// first release, with MATLAB files; 164k covers all of COCO 2017.
//   10k    <root>/images/{train2014,test2014}/<name>.jpg   <root>/annotations/{...}/<name>_labelTrainIds.png
//   164k   <root>/images/{train2017,val2017}/<name>.jpg    <root>/annotations/{...}/<name>_labelTrainIds.png
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/remap.h"

namespace segrt::data {

enum class CocoStuff : uint8_t { k10, k164 };

// Value of the annotation -> value of the label map. 10k: 0 (unlabelled) stays, classes follow from 1 on. 164k: classes
// from 0 on, 255 stays. The values that occur in no annotation (12, 26, ... and 11, 25, ...) are not known.
Remap coco_stuff_remap(CocoStuff release);

// S of an annotation of 10k, annotations/<name>.mat: [h,w,1], 0 to 182. Throws FileError for a file that is no MATLAB 5
// file, cut short or damaged, for one without a matrix S of numbers, and for numbers that are no integers of 0 to 255
// (row and column named); Error in a build without libmatio.
Image read_coco_stuff_mat(const std::filesystem::path& path);
bool can_read_coco_stuff_mat();

struct CocoStuffOptions {
  CocoStuff release = CocoStuff::k10;
  std::filesystem::path root{};
  // 10k: train; val and test are both its test images. 164k: train, val, and trainval, both together.
  std::string split = "train";
  bool needs_info = true;  // as SuffixFolders
  std::vector<std::string>* problems = nullptr;
};
// Throws ArgumentError for a split that the release does not have.
std::unique_ptr<Dataset> open_coco_stuff(const CocoStuffOptions& options);

}  // namespace segrt::data
