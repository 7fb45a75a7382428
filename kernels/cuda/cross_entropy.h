// CUDA side of kernels/softmax.h, the losses at label resolution.
#pragma once

#include "kernels/softmax.h"

namespace segrt::kernels::cuda {

void cross_entropy_forward(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& o, Tensor& loss,
                           Tensor& weight_sum);
void cross_entropy_backward(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& o,
                            const Tensor& scale, Tensor& dlogits);
void nll_forward(const Tensor& log_probabilities, const Tensor& labels, const CrossEntropyOptions& o, Tensor& loss,
                 Tensor& weight_sum);
void nll_backward(const Tensor& labels, const CrossEntropyOptions& o, const Tensor& scale, Tensor& dx);

}  // namespace segrt::kernels::cuda
