// From a network's low-resolution scores to log-probabilities, a loss or a prediction at the resolution of the labels.
#pragma once

#include "autograd/loss.h"
#include "kernels/upsample_loss.h"

namespace segrt::nn {

// How scores [N,h,w,C] become logits.
struct Upsampling {
  enum class Rule : uint8_t { bilinear_half_pixel, bilinear_align_corners, transposed_x8, custom_transposed_x8 };
  Rule rule = Rule::bilinear_half_pixel;
  int height = 0, width = 0;  // the network's own output size; labels may be smaller: what lies beyond is cut off
  Tensor kernel;              // custom_transposed_x8: [C,16,16,1], a depthwise kernel other than the fixed bilinear one
};

// The scores upsampled to the network's whole output, [N,height,width,C].
Var upsampled_scores(const Var& scores, const Upsampling& up);
// Log-probabilities [N,height,width,C] over the network's whole output.
Var log_probabilities(const Var& scores, const Upsampling& up);
// Mean cross-entropy against labels u8 [N,H,W], H <= up.height, W <= up.width. Fused: nothing of size [N,H,W,C] is
// stored (except under a custom kernel).
autograd::SegmentationLoss segmentation_loss(const Var& scores, const Upsampling& up, const Tensor& labels,
                                             const autograd::SegmentationLossOptions& o = {});
// prediction u8 [N,H,W] = first argmax over the classes.
Tensor segmentation_argmax(const Tensor& scores, const Upsampling& up, int height, int width);

}  // namespace segrt::nn
