// Procedural street scenes with the 19 Cityscapes classes, so that everything runs with nothing downloaded.
//
// A scene is a street in metres (lanes, kerbs, houses, walls, trees, signs, vehicles, people) seen by a pinhole camera
// and painted far to near; labels are the topmost thing that covers at least half of a pixel. Colours say little about
// classes: light, white balance, haze and noise change by scene, roads, pavements and facades share their greys, and a
// share of all things takes the colour of what is behind them. What tells classes apart is shape, texture and place.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "data/dataset.h"

namespace segrt::data {

class SyntheticStreets final : public Dataset {
 public:
  // Scene i of the dataset is scene `first + i` of `seed`: two splits differ in the seed or in their range of scenes.
  struct Options {
    int64_t size = 1000;
    int height = 256, width = 512;  // 16 .. 16384 each; meant for width >= height
    uint64_t seed = 1;
    int64_t first = 0;
    double difficulty = 0.6;  // 0: clear views, honest colours .. 1: camouflage, haze, blur and noise
    std::string name = "synthetic";
  };

  // Throws ArgumentError on an option out of range.
  explicit SyntheticStreets(Options options);

  const std::string& name() const override { return options_.name; }
  int64_t size() const override { return options_.size; }
  // image [height,width,3], label [height,width,1] with train ids 0..18 and 255. A pure function of the options and the
  // index: the same bytes on every IEEE machine and from any thread. 10 to 15 ms at 256x512 on one core.
  // Throws ArgumentError unless 0 <= index < size().
  Sample load(int64_t index) const override;
  const LabelTable& classes() const override { return classes_; }
  std::array<double, 3> mean() const override;
  std::array<double, 3> std() const override;

 private:
  Options options_;
  LabelTable classes_;
};

}  // namespace segrt::data
