// CPU side of kernels/upsample_loss.h.
#pragma once

#include "kernels/upsample_loss.h"

namespace segrt::kernels::cpu {

void upsample_cross_entropy_forward(const Tensor& scores, const UpsampleTaps& taps, const Tensor& labels,
                                    const UpsampleLossOptions& o, Tensor& loss, Tensor& weight_sum, Tensor& log_sum_exp,
                                    Tensor& correct);
void upsample_cross_entropy_backward(const Tensor& scores, const UpsampleTaps& taps, const Tensor& labels,
                                     const UpsampleLossOptions& o, const Tensor& log_sum_exp, const Tensor& weight_sum,
                                     const Tensor& dloss, Tensor& dscores);
void upsample_argmax(const Tensor& scores, const UpsampleTaps& taps, Tensor& prediction);

}  // namespace segrt::kernels::cpu
