// Cityscapes with its fine annotations, read from the folders it comes in (data/cityscapes_files.h).
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "data/cityscapes_files.h"
#include "data/dataset.h"

namespace segrt::data {

// Of the pixels of up to 500 training images together, as published with DRN (Yu et al. 2017).
inline constexpr std::array<double, 3> kCityscapesMean = {0.29010095242892997, 0.32808144844279574,
                                                          0.28696394422942517},
                                       kCityscapesStd = {0.1829540508368939, 0.18656561047509476, 0.18447508988480435};

class Cityscapes final : public Dataset {
 public:
  // Which label maps are read: train ids as they are; label ids, mapped to train ids on the way; per frame the train
  // ids where there are any, else the label ids.
  enum class Labels : uint8_t { train_ids, label_ids, automatic };
  struct Options {
    std::filesystem::path root{};
    // train, val, trainval (both together) or test, which has no labels, only placeholders that are not read.
    std::string split = "train";
    Labels labels = Labels::automatic;
    std::vector<std::string>* problems = nullptr;  // report_missing
  };
  // Lists the files, sorted by city, then name, and reads none. Throws FileError naming the file or folder: a folder
  // that is missing, a split without images or without label maps, an image without a label map, a label map without an
  // image.
  explicit Cityscapes(const Options& options);

  const std::string& name() const override { return name_; }
  int64_t size() const override { return static_cast<int64_t>(entries_.size()); }
  // Throws FileError for an unreadable file, an image and label map of different sizes, and label values that are no
  // train id (or label id). The sample's name is the image's path below the root.
  Sample load(int64_t index) const override;
  std::vector<std::filesystem::path> files(int64_t index) const override;
  const LabelTable& classes() const override { return classes_; }
  bool has_labels() const override { return has_labels_; }
  // For the test server: label ids, as a PNG with the published colours for a palette, all in one folder under the
  // names of the images.
  PredictionFile prediction_file(const std::string& sample, const Image& prediction) const override;
  std::array<double, 3> mean() const override;
  std::array<double, 3> std() const override;

 private:
  struct Entry {
    CityscapesFrame frame;
    std::string split;       // the folder it is in
    bool label_ids = false;  // its label map holds label ids
  };
  void add_split(const std::string& split, const Options& options);

  std::filesystem::path root_;
  std::string name_;
  bool has_labels_ = true;
  std::vector<Entry> entries_;
  LabelTable classes_;
};

}  // namespace segrt::data
