// DABNet's golden files: what the inference part and the training part share.
#pragma once

#include <string>
#include <vector>

#include "tests/tools/segrt_golden/families.h"

namespace segrt::golden {

// What a file of tests/torch/dabnet_golden.py says of the reference's float32 runs, in its metadata `fp32_noise`.
std::vector<double> recorded_noise(GoldenFile& file, const std::string& row);

// Every stride[i]-th position along axis i of a map [N,H,W,C], in the order [n,c,h,w]; {} for all.
std::vector<double> strided(const Tensor& map, const std::vector<int64_t>& stride, Device& host);

// Running statistics after one pass, losses, gradients (on `device` in float32, on the CPU also in float64) and three
// optimizer steps.
struct NetworkOnDevice {
  Device& device;
  std::function<std::unique_ptr<models::Model>(Device& device)> build;
};
void run_dabnet_training(GoldenFile& file, const NetworkOnDevice& network, Report& report);
// The first loss, in `precision`.
double dabnet_loss(GoldenFile& file, const NetworkOnDevice& network, DType precision);

}  // namespace segrt::golden
