// What differs between the model families in their golden files. A family is one entry of the table in families.cpp and
// one small file (drn.cpp).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/model.h"
#include "tests/tools/segrt_golden/golden_file.h"
#include "tests/tools/segrt_golden/report.h"
#include "tests/tools/segrt_golden/sensitivity.h"
#include "train/optimizer.h"

namespace segrt::golden {

// The three optimizer steps of a training part.
struct TrainingPlan {
  train::Sgd::Options optimizer;
  std::vector<int64_t> schedule_steps;  // for each update, the step at which the schedule is asked for its rate
};

// How the networks of a family are built, filled and trained; what is shared asks for no more.
struct NetworkRules {
  // The table [model] of a configuration, as TOML, for the file's network.
  std::string (*model_table)(GoldenFile& file);
  // The factor of fill() for each parameter of `model` by its name; names that are absent have factor 1.
  std::map<std::string, float> (*fill_factors)(GoldenFile& file, models::Model& model);
  TrainingPlan (*training_plan)(Fields& recipe);
};

struct Family {
  const char* name;
  // Whether a network or test procedure of this file belongs to the family.
  bool (*owns)(GoldenFile& file);
  // Compares all that the file holds.
  void (*run)(GoldenFile& file, Device& device, Report& report);
  // The file's network in its recorded state, and the (first) input of its inference part, [N,H,W,3].
  std::unique_ptr<models::Model> (*network)(GoldenFile& file, Device& device);
  Tensor (*input)(GoldenFile& file, Device& device);
  // What the network computes for that input in evaluation mode, in the input's type: by the names of the tensors in
  // the file, as the file stores them.
  Results (*results)(GoldenFile& file, models::Model& model, const Tensor& input);
  // The loss of the training part before its first update, of files that hold a `loss`; null where that is not known.
  double (*first_loss)(GoldenFile& file, Device& device, DType precision);
};

const Family* family_of(GoldenFile& file);  // null where no family of this program owns it

extern const Family kDabNet;          // dabnet.cpp
extern const Family kDgmn2;           // dgmn2.cpp
extern const Family kDrn;             // drn.cpp
extern const Family kDynamicRouting;  // dynamic_routing.cpp

}  // namespace segrt::golden
