// A data folder in DRN's layout: <phase>_images.txt and <phase>_labels.txt with one path a line, relative to the data
// folder; info.json {"mean": [r,g,b], "std": [r,g,b]} in units of [0, 1]; optionally classes.json with the class names.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace segrt::data {

class ListFolder final : public Dataset {
 public:
  struct Options {
    std::filesystem::path folder{};
    std::string phase = "train";          // train, val, test, or whatever lists there are
    std::filesystem::path list_folder{};  // where the lists are if not in `folder`
    std::optional<LabelTable> classes{};  // instead of classes.json
    bool reduce_zero_label = false;       // label maps count classes from 1; 0 is unlabelled
    bool needs_info = true;               // false: info.json is not read (it may be what is about to be made)
  };
  // Reads lists and JSON files, not the images. Throws FileError naming file and line: a list that is missing (the
  // label list may be), has an empty line in its middle or another length than its partner; a path that leaves the data
  // folder; a JSON file that is missing, not JSON or without the values above.
  explicit ListFolder(const Options& options);

  const std::string& name() const override { return name_; }
  int64_t size() const override { return static_cast<int64_t>(images_.size()); }
  // Throws FileError for an unreadable file, an image and label of different sizes, and label values that are neither a
  // class nor the ignore index (file, first such pixel, value). The sample's name is the image path as listed.
  Sample load(int64_t index) const override;
  std::vector<std::filesystem::path> files(int64_t index) const override;
  const LabelTable& classes() const override { return classes_; }
  bool has_labels() const override { return !labels_.empty(); }
  std::array<double, 3> mean() const override { return mean_; }
  std::array<double, 3> std() const override { return std_; }

 private:
  std::filesystem::path folder_;
  std::string name_;
  std::vector<std::string> images_, labels_;  // labels_ is empty or as long as images_
  bool reduce_zero_label_;
  LabelTable classes_;
  std::array<double, 3> mean_{}, std_{1, 1, 1};
};

// Throws FileError naming `path`, the first pixel and its value where a value is neither in [0, classes) nor
// ignore_index.
void check_label_values(const std::filesystem::path& path, const Image& label, int classes, int ignore_index);

// {"classes": [{"id": 0, "name": "Sky", "color": [128, 128, 128]}, ...], "ignore_label": 255}, ids 0, 1, ... in order.
// Colours may be missing (all of them: generic ones). Throws FileError.
LabelTable read_classes_json(const std::filesystem::path& path);

}  // namespace segrt::data
