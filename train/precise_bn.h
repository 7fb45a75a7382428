// Running statistics of batch norms that belong to the final weights rather than to the last few updates (Wu & Johnson
// 2021, arXiv:2105.07576, section 3.1).
#pragma once

#include <functional>

#include "models/model.h"

namespace segrt::train {

// Runs `batches` forward passes in training mode, with the weights as they are, at step rate 0 and without gradients,
// over what next_input() gives ([N,H,W,3], normalised). Then, for each batch norm that took part,
//   running_mean = average of the batches' means,  running_var = average of the batches' unbiased variances.
// The model is left in training mode. Returns how many batch norms have new statistics.
int64_t precise_batch_norm(models::Model& model, int batches, const std::function<Tensor()>& next_input);

}  // namespace segrt::train
