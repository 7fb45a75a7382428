// A tiny Cityscapes in the layout of the real one, made by the test that reads it.
#pragma once

#include <string>

#include "core/random.h"
#include "data/image.h"
#include "tests/data/test_files.h"

namespace segrt::test {

class CityscapesTree {
 public:
  const std::filesystem::path& root() const { return folder_.path(); }
  // "train", "aachen/aachen_0_0" -> the file's path
  std::filesystem::path image_path(const std::string& split, const std::string& frame) const {
    return root() / "leftImg8bit" / split / (frame + "_leftImg8bit.png");
  }
  std::filesystem::path label_path(const std::string& split, const std::string& frame, const std::string& kind) const {
    return root() / "gtFine" / split / (frame + "_gtFine_" + kind);
  }
  // A photo of noise.
  data::Image add_image(const std::string& split, const std::string& frame, int height = 6, int width = 10) const {
    data::Image image(height, width, 3);
    Rng rng(3, stream_of({frame.size(), static_cast<uint64_t>(frame.back())}));
    for (uint8_t& v : image.pixels) v = static_cast<uint8_t>(rng.integer(0, 255));
    data::write_png(image_path(split, frame), image);
    return image;
  }
  // Values first, first + 1, ... below `end`, then `first` again. kind: labelIds.png or labelTrainIds.png
  data::Image add_label(const std::string& split, const std::string& frame, const std::string& kind, int first, int end,
                        int height = 6, int width = 10) const {
    data::Image label(height, width, 1);
    int value = first;
    for (uint8_t& v : label.pixels) {
      v = static_cast<uint8_t>(value);
      value = value + 1 == end ? first : value + 1;
    }
    data::write_png(label_path(split, frame, kind), label);
    return label;
  }
  std::filesystem::path add_polygons(const std::string& split, const std::string& frame,
                                     const std::string& json) const {
    return folder_.write("gtFine/" + split + "/" + frame + "_gtFine_polygons.json", json);
  }

 private:
  TestFolder folder_;
};

}  // namespace segrt::test
