// What segeval and segpredict do with a classifier.
#pragma once

#include <string>
#include <vector>

#include "apps/command_line.h"
#include "train/checkpoint.h"

namespace segrt::apps {

struct ClassEvaluation {
  std::string checkpoint, split, json, routing;  // json, routing: files to write; empty: none
  int64_t limit = 0;                             // images; 0: all
};
// Prints top-1 and top-5 of `dataset`, and writes them by class into the JSON file. Throws what the evaluation throws.
void evaluate_classes(const ClassEvaluation& a, const LoadedModel& loaded, const data::Dataset& dataset,
                      Device& device);

struct ClassPrediction {
  std::string checkpoint, config, output;
  std::vector<std::string> images, set;
  bool cam = false;       // write <name>_cam.png
  std::string cam_class;  // name or index; empty: the first class of each image
  double alpha = 0.5;
  int64_t top = 5;
};
// Prints the first classes of each image with their probabilities, and writes class activation maps if asked to.
void predict_classes(const ClassPrediction& a, Device& device);

// Throws ArgumentError naming the first option of `given` that is set: they belong to segmentation networks.
void refuse_for_classifier(const std::string& model, const std::vector<std::pair<std::string, bool>>& given);

}  // namespace segrt::apps
