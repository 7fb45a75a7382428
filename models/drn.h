// DRN: dilated residual networks, families A, C and D. Yu, Koltun & Funkhouser 2017 (arXiv:1705.09914).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/model.h"

namespace segrt::models {

std::vector<std::string> drn_names();

// Options of the table: segmentation: use_torch_up (aligned-corners bilinear in place of the fixed transposed
// convolution); classification: pool_size (28), out_map (scores at every position, families C and D).
std::unique_ptr<Model> build_drn(const std::string& name, Task task, int classes, const Config& options,
                                 nn::Init& init);

}  // namespace segrt::models
