// A convolution as a vendor library is asked for it: what decides which of its engines can do it, and how fast.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "kernels/conv.h"

namespace segrt::kernels::vendor::cudnn {

enum class ConvOp : uint8_t { forward, backward_input, backward_weight };

// What else the same pass computes. Each is one pattern of cuDNN's graphs; see conv_graph.h.
struct ConvFusion {
  bool scale = false;          // forward: * scale[o], float32
  bool bias = false;           // forward: + bias[o], float32
  bool residual = false;       // forward: + residual[n,p,q,o]
  bool relu = false;           // forward: max(., 0), last
  bool swish = false;          // forward: . * sigmoid(.), last, instead of relu
  bool prologue = false;       // forward with statistics, backward_weight: of relu(x * input_scale[c] + input_bias[c])
  bool statistics = false;     // forward: sums and sums of squares of y a channel, float32; without an epilogue
  bool relu_backward = false;  // backward_input: dx where the ReLU's output x > 0, else 0
  bool gradient = false;       // with relu_backward: another gradient of x, added before
  bool norm_sums = false;      // backward_input: through a ReLU and the sums of a batch norm's backward pass
  bool f32_weights = false;    // backward_weight: dw in float32 from 16-bit x and dy
  bool operator==(const ConvFusion&) const = default;
};

struct ConvProblem {
  ConvOp op = ConvOp::forward;
  DType dtype = DType::bf16;  // f32, bf16, f16: of x, w, y and their gradients
  bool tf32 = false;          // f32 operands may be rounded to TF32 (kernels/math_mode.h)
  bool deterministic = false;
  Shape x, w, y;  // [N,H,W,C], [O,kh,kw,C/groups], [N,P,Q,O]
  ConvGeometry g = {};
  ConvFusion fusion = {};

  bool operator==(const ConvProblem&) const = default;
};

// All of it as numbers, to look problems up by; they are many in a step.
using ConvKey = std::array<int64_t, 36>;
ConvKey key_of(const ConvProblem& problem);

// One line that says all of it: the key of the cache on disk, and what people read.
// "forward+bias+relu bf16 x[8,112,112,64] w[64,3,3,64] y[8,112,112,64] stride 1x1 pad 1,1,1,1 dilation 1x1 groups 1"
std::string to_string(const ConvProblem& problem);

}  // namespace segrt::kernels::vendor::cudnn
