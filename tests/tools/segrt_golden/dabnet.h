// DABNet's golden files: what the inference part and the training part share.
#pragma once

#include <string>
#include <vector>

#include "tests/tools/segrt_golden/families.h"

namespace segrt::golden {

// Every stride[i]-th position along axis i of a map [N,H,W,C], in the order [n,c,h,w]; {} for all.
std::vector<double> strided(const Tensor& map, const std::vector<int64_t>& stride, Device& host);

// Running statistics after one pass, losses, gradients (on `device` in float32, on the CPU also in float64) and three
// optimizer steps.
struct NetworkOnDevice {
  Device& device;
  std::function<std::unique_ptr<models::Model>(Device& device)> build;
};
void run_dabnet_training(GoldenFile& file, const NetworkOnDevice& network, Report& report);

}  // namespace segrt::golden
