// Parameter updates on a CPU: the functions of kernels/optimizer.h, arguments checked there.
#pragma once

#include <vector>

#include "core/tensor.h"
#include "kernels/optimizer.h"

namespace segrt::kernels::cpu {

void compute_learning_rate(const LrSchedule& s, const Tensor& step, Tensor& lr);
void advance_step(Tensor& step, const Tensor& skip);
void sgd_step(const std::vector<SgdTensor>& tensors, const SgdOptions& o, const Tensor& lr, const Tensor& factor,
              const Tensor& skip);
void adam_step(const std::vector<AdamTensor>& tensors, const AdamOptions& o, const Tensor& lr, const Tensor& updates,
               const Tensor& factor, const Tensor& skip);
void compute_clip(const Tensor& norm, double max_norm, Tensor& clip);

}  // namespace segrt::kernels::cpu
