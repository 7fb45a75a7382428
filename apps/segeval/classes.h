// What segeval does with a classifier.
#pragma once

#include <string>

#include "apps/command_line.h"

namespace segrt::apps {

struct ClassEvaluation {
  std::string checkpoint, split, json, routing;  // json, routing: files to write; empty: none
  int64_t limit = 0;                             // images; 0: all
};
// Prints top-1 and top-5 of `dataset`, and writes them by class into the JSON file; several processes share the images,
// and the first prints and writes. Throws what the evaluation throws.
void evaluate_classes(const ClassEvaluation& a, const LoadedModel& loaded, const data::Dataset& dataset, Device& device,
                      Communicator& processes);

}  // namespace segrt::apps
