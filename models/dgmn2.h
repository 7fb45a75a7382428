// DGMN2 (Zhang et al. 2022): a transformer-like backbone whose attention gathers, for every pixel, from nine points
// that it predicts; with the heads of Semantic FPN and SETR, or as an ImageNet classifier. State names are those of the
// published code.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/model.h"

namespace segrt::models {

// dgmn2_<size>_<head>, sizes tiny, small, medium, large, heads fpn, setr_naive, setr_pup, setr_mla; and the classifiers
// dgmn2_<size>.
std::vector<std::string> dgmn2_names();

// Options of the table: drop_path (0), drop_path_after (0; share of the training that passes before it applies);
// dropout (0.1, of the FPN head); image_size (769, of SETR-Naive and SETR-MLA).
std::unique_ptr<Model> build_dgmn2(const std::string& name, Task task, int classes, const Config& options,
                                   nn::Init& init);

}  // namespace segrt::models
