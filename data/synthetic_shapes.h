// Procedural pictures of single objects for classification, so that a classifier trains with nothing downloaded.
//
// A class is a pair of shape and texture: "ring striped". The object lies anywhere, turned and scaled, in a bright
// colour and a shade of it; the background is a darker gradient with patches and strokes over it; light and noise
// differ. Hues and brightness are drawn alike for all classes, so they tell little; what tells is the outline with the
// surface.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "data/dataset.h"

namespace segrt::data {

class SyntheticShapes final : public Dataset {
 public:
  // disc, square, triangle, plus, ring, star; plain, striped, checked. The first so many of each.
  static constexpr int kMaxShapes = 6, kMaxTextures = 3;
  // Picture i of the dataset is picture `first + i` of `seed`; class (first + i) % (shapes * textures).
  struct Options {
    int64_t size = 1000;
    int height = 64, width = 64;  // 16 .. 4096 each
    int shapes = 4, textures = 3;
    uint64_t seed = 1;
    int64_t first = 0;
    std::string name = "shapes";
  };

  // Throws ArgumentError on an option out of range.
  explicit SyntheticShapes(Options options);

  const std::string& name() const override { return options_.name; }
  int64_t size() const override { return options_.size; }
  // image [height,width,3]. A pure function of the options and the index: the same bytes on every IEEE machine and from
  // any thread. Throws ArgumentError unless 0 <= index < size().
  Sample load(int64_t index) const override;
  const LabelTable& classes() const override { return classes_; }
  bool is_classification() const override { return true; }
  int64_t class_of(int64_t index) const override;
  std::array<double, 3> mean() const override;
  std::array<double, 3> std() const override;

 private:
  void require_index(int64_t index) const;

  Options options_;
  LabelTable classes_;
};

}  // namespace segrt::data
