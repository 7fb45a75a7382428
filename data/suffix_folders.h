// Data sets whose images and label maps lie in two trees of folders under names that differ in their ending:
//   <root>/images/train/**/<name>.jpg     <root>/annotations/train/**/<name>_labelTrainIds.png
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/image_folder.h"

namespace segrt::data {

class SuffixFolders final : public Dataset {
 public:
  struct Folders {
    std::string images, labels;  // below root
  };
  struct Options {
    std::filesystem::path root{};
    std::string name{};              // for messages: "camvid/train"
    std::vector<Folders> folders{};  // one, or several that make one split together
    std::string image_suffix{}, label_suffix{};
    LabelTable classes{};
    // Label maps hold 0 for pixels that do not count and class k as k + 1: 0 becomes the ignore index, the others lose
    // 1. The ignore index stays.
    bool reduce_zero_label = false;
    bool as_rgb = false;      // grey images and those with alpha become RGB (COCO has a few); else they are errors
    bool needs_info = true;   // false: info.json is not read (it may be what is about to be made)
    std::string converter{};  // the command that makes the label maps, for messages
    std::vector<std::string>* problems = nullptr;  // report_missing
  };
  // Lists the files of all folders and those below, sorted by their path below the folder, and reads none but
  // info.json, which may be missing: mean and std are ImageNet's then. Throws FileError naming the file or folder: a
  // folder that is missing, a split without images or without label maps, an image without a label map, a label map
  // without an image, a name that two folders hold.
  explicit SuffixFolders(const Options& options);

  const std::string& name() const override { return options_.name; }
  int64_t size() const override { return static_cast<int64_t>(pairs_.size()); }
  // Throws FileError for an unreadable file, an image and label map of different sizes, and label values that are no
  // class. The sample's name is the image's path below the root.
  Sample load(int64_t index) const override;
  std::vector<std::filesystem::path> files(int64_t index) const override;
  const LabelTable& classes() const override { return options_.classes; }
  std::array<double, 3> mean() const override { return mean_; }
  std::array<double, 3> std() const override { return std_; }

 private:
  struct Pair {
    std::string key;  // path below the folder, without the suffix
    size_t folders;   // of options_.folders
  };
  void pair_up(size_t folders);
  const Folders& folders_of(const Pair& pair) const { return options_.folders[pair.folders]; }

  Options options_;
  std::vector<Pair> pairs_;
  std::array<double, 3> mean_ = kImagenetMean, std_ = kImagenetStd;
};

// Files below `folder` and its folders that end in `suffix`, as paths below it without the suffix, sorted. Hidden files
// and folders are passed over. Throws FileError when the folder is missing or cannot be read.
std::vector<std::string> list_by_suffix(const std::filesystem::path& folder, const std::string& suffix);

}  // namespace segrt::data
