// What segpredict does with a classifier.
#pragma once

#include <string>
#include <vector>

#include "apps/command_line.h"

namespace segrt::apps {

struct ClassPrediction {
  std::string checkpoint, config, output;
  std::vector<std::string> images, set;
  bool strict = true;     // whether all weights must fit
  bool cam = false;       // write <name>_cam.png
  std::string cam_class;  // name or index; empty: the first class of each image
  double alpha = 0.5;
  int64_t top = 5;
};
// Prints the first classes of each image with their probabilities, and writes class activation maps if asked to.
void predict_classes(const ClassPrediction& a, Device& device);

}  // namespace segrt::apps
