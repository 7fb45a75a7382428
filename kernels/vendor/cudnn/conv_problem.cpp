#include "kernels/vendor/cudnn/conv_problem.h"

#include <fmt/format.h>

namespace segrt::kernels::vendor::cudnn {
namespace {
const char* name_of(ConvOp op) {
  switch (op) {
    case ConvOp::forward: return "forward";
    case ConvOp::backward_input: return "backward_input";
    case ConvOp::backward_weight: return "backward_weight";
  }
  return "";
}

std::string fusion_suffix(const ConvFusion& f) {
  struct Named {
    bool on;
    const char* name;
  };
  std::string text;
  for (const Named& part :
       {Named{f.scale, "scale"}, Named{f.bias, "bias"}, Named{f.residual, "residual"}, Named{f.relu, "relu"},
        Named{f.swish, "swish"}, Named{f.prologue, "prologue"}, Named{f.statistics, "statistics"},
        Named{f.relu_backward, "relu_backward"}, Named{f.gradient, "gradient"}, Named{f.norm_sums, "norm_sums"},
        Named{f.f32_weights, "f32_weights"}})
    if (part.on) text += std::string("+") + part.name;
  return text;
}
}  // namespace

ConvKey key_of(const ConvProblem& p) {
  const ConvGeometry& g = p.g;
  const ConvFusion& f = p.fusion;
  return {static_cast<int64_t>(p.op),
          static_cast<int64_t>(p.dtype),
          p.tf32,
          p.deterministic,
          p.x[0],
          p.x[1],
          p.x[2],
          p.x[3],
          p.w[0],
          p.w[1],
          p.w[2],
          p.w[3],
          p.y[0],
          p.y[1],
          p.y[2],
          p.y[3],
          g.stride_h,
          g.stride_w,
          g.pad_top,
          g.pad_left,
          g.pad_bottom,
          g.pad_right,
          g.dilation_h,
          g.dilation_w,
          g.groups,
          f.scale,
          f.bias,
          f.residual,
          f.relu,
          f.swish,
          f.prologue,
          f.statistics,
          f.relu_backward,
          f.gradient,
          f.norm_sums,
          f.f32_weights};
}

std::string to_string(const ConvProblem& p) {
  return fmt::format("{}{} {}{} x{} w{} y{} stride {}x{} pad {},{},{},{} dilation {}x{} groups {}", name_of(p.op),
                     fusion_suffix(p.fusion), p.dtype == DType::f32 && p.tf32 ? "tf32" : to_string(p.dtype),
                     p.deterministic ? " deterministic" : "", to_string(p.x), to_string(p.w), to_string(p.y),
                     p.g.stride_h, p.g.stride_w, p.g.pad_top, p.g.pad_left, p.g.pad_bottom, p.g.pad_right,
                     p.g.dilation_h, p.g.dilation_w, p.g.groups);
}

}  // namespace segrt::kernels::vendor::cudnn
