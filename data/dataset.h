// What a loader reads: numbered samples with one label table, and a label map or one class each.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/image.h"
#include "data/label_table.h"

namespace segrt::data {

// What is to become noise once an image is normalised: a rectangle, empty for none, and where its noise comes from
// (a stream of core/random.h).
struct Erasure {
  int y = 0, x = 0, height = 0, width = 0;
  uint64_t stream = 0;
  bool operator==(const Erasure&) const = default;
};

struct Sample {
  Image image;       // [h,w,3] RGB
  Image label;       // [h,w,1] class indices or the ignore index; empty without ground truth and in classification
  std::string name;  // path relative to the data folder, or another name that is unique in the dataset
  // After some recipes: the rows and columns from the top left that are image. The rest is padding, which is to be 0
  // after normalisation, whatever bytes stand there. {0, 0}: all is image.
  ImageSize content{};
  Erasure erasure{};
};

// A prediction in the form in which others read it: a PNG of one channel.
struct PredictionFile {
  std::filesystem::path path;  // below the folder of all predictions
  Image values;                // [h,w,1]
  std::vector<Rgb> palette{};  // colours of the values; none: grey
};

class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual const std::string& name() const = 0;  // for messages: "camvid/train"
  virtual int64_t size() const = 0;
  // Sample `index` of [0, size()), the same every time. Called from several threads at once.
  virtual Sample load(int64_t index) const = 0;
  // The files that load(index) reads, the image first; none where samples are made and not read.
  virtual std::vector<std::filesystem::path> files(int64_t index) const;
  virtual const LabelTable& classes() const = 0;
  virtual bool has_labels() const { return true; }
  // Classification: a sample has one class, class_of(index), in [0, classes().size()) and known without loading it;
  // there are no label maps. Without has_labels() class_of must not be asked.
  virtual bool is_classification() const { return false; }
  virtual int64_t class_of(int64_t index) const;  // throws ArgumentError where samples have no class
  // `prediction` [h,w,1] (class indices) of the sample called `sample`, as the dataset's benchmark wants it. Without a
  // benchmark: the indices, at the sample's path with the extension .png.
  virtual PredictionFile prediction_file(const std::string& sample, const Image& prediction) const;
  // Of the training images' pixels, per RGB channel, in units of [0, 1].
  virtual std::array<double, 3> mean() const = 0;
  virtual std::array<double, 3> std() const = 0;

 protected:
  void require_sample(int64_t index) const;  // throws ArgumentError outside of [0, size())
};

// Throws FileError naming both files unless the label map has the size of its image.
void require_size_of_image(const std::filesystem::path& label_file, const Image& label,
                           const std::filesystem::path& image_file, const Image& image);

// An image without a label map and the like, found while files are listed: put down in `problems` where there is such a
// list, thrown as FileError where there is none.
void report_missing(std::vector<std::string>* problems, const std::string& what);

}  // namespace segrt::data
