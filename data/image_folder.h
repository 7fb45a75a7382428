// Classification data in the layout of ImageNet: a folder a class.
//
//   root/train/<class>/**/*.JPEG    classes are the sorted names of the folders; images may lie in folders below
//   root/val/<class>/**/*.JPEG      the same classes
//   root/test/*.JPEG                without labels; or in class folders like the others
//   root/info.json                  optional: {"mean": [r,g,b], "std": [r,g,b]} in units of [0, 1]; else ImageNet's
//
// Images are files ending in .jpg, .jpeg or .png in any case; other files are passed over. Order: by class, then
// folder, then file name, all by bytes.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace segrt::data {

// Of ImageNet's training images, as every published training code has them.
inline constexpr std::array<double, 3> kImagenetMean = {0.485, 0.456, 0.406}, kImagenetStd = {0.229, 0.224, 0.225};

class ImageFolder final : public Dataset {
 public:
  struct Options {
    std::filesystem::path root{};
    std::string split = "train";          // train, val or test
    std::filesystem::path class_names{};  // read_class_names; empty: the folders' names
    bool needs_info = true;               // false: info.json is not read (it may be what is about to be made)
  };
  // Lists the files, opens none of the images. Throws FileError naming the folder: one that is missing, has no class or
  // a class without images, or a split whose classes are not those of train/.
  explicit ImageFolder(const Options& options);

  const std::string& name() const override { return name_; }
  int64_t size() const override { return static_cast<int64_t>(images_.size()); }
  // By read_image_as_rgb. The sample's name is the path below root.
  Sample load(int64_t index) const override;
  std::vector<std::filesystem::path> files(int64_t index) const override;
  const LabelTable& classes() const override { return classes_; }
  bool has_labels() const override { return has_labels_; }
  bool is_classification() const override { return true; }
  int64_t class_of(int64_t index) const override;
  std::array<double, 3> mean() const override { return mean_; }
  std::array<double, 3> std() const override { return std_; }

 private:
  void require_same_classes(const std::vector<std::string>& folders) const;

  std::filesystem::path root_;
  std::string split_, name_;
  bool has_labels_ = true;
  std::vector<std::string> images_;  // paths below root
  std::vector<int32_t> image_class_;
  LabelTable classes_;
  std::array<double, 3> mean_ = kImagenetMean, std_ = kImagenetStd;
};

// All names of such a file, sorted by folder: the order of classes where all of its folders are there.
std::vector<std::string> read_class_names(const std::filesystem::path& path);
// Names for people from a file with a line "<folder> <name>" a class ("n01440764 tench, Tinca tinca"), in the order of
// `folders`. Lines of other folders are passed over. Throws FileError: a folder without a line or with two, a line
// without a name.
std::vector<std::string> read_class_names(const std::filesystem::path& path, const std::vector<std::string>& folders);

}  // namespace segrt::data
