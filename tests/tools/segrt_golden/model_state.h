// A network with the weights that a golden file names.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "models/model.h"
#include "tests/tools/segrt_golden/families.h"

namespace segrt::golden {

// The network of the file with regenerated weights: fill(name) times the family's factor, the file's state.<name> where
// there is one, and for parameters that are not trained what the model starts with. `overrides` are settings in front
// of the file's own ("model.pool_size=10").
std::unique_ptr<models::Model> build_model(GoldenFile& file, const NetworkRules& rules, Device& device,
                                           std::span<const std::string> overrides = {});

// Names and shapes of the state, number of parameters, and which parameters are trained, against what the file records.
void check_structure(GoldenFile& file, models::Model& model, Report& report);

std::vector<std::string> trained_names(models::Model& model);
std::vector<std::string> statistic_names(models::Model& model);  // running_mean, running_var

// L2 norm of every parameter's gradient, 0 where it has none.
std::vector<double> gradient_norms(models::Model& model);

// One training pass with momentum 1: the running statistics are those of the images afterwards.
void calibrate(models::Model& model, const Tensor& image);

// Makes parameters and running statistics float64 (on a CPU): then a wrong formula is told from rounding.
void make_float64(models::Model& model);

}  // namespace segrt::golden
