// DGMN2's golden files: what inference, training and the operators' part share.
#pragma once

#include "tests/tools/segrt_golden/families.h"

namespace segrt::golden {

// Tensors of the file are elements 0, k, 2k, ... of a result; k is 1 where its metadata `strides` does not name it.
int64_t stride_of(const Json& strides, const std::string& name);

// The largest difference as a share of the largest expected magnitude.
void check_of_largest(const std::string& name, const std::vector<double>& got, const std::vector<double>& expected,
                      double tolerance, Report& report);

// x in another type, on another device.
Tensor in_type(const Tensor& x, DType dtype, Device& device);

using Dgmn2Network = std::function<std::unique_ptr<models::Model>(Device& device)>;  // in the file's state
// Loss, gradients (in float32 on `device`, in float64 on the CPU) and three optimizer steps.
void run_dgmn2_training(GoldenFile& file, const Dgmn2Network& network, Device& device, Report& report);
double dgmn2_first_loss(GoldenFile& file, const Dgmn2Network& network, Device& device, DType precision);

// A file with the metadata `op`: one block.
void run_dgmn2_block(GoldenFile& file, Device& device, Report& report);

}  // namespace segrt::golden
