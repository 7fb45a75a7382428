// Which CPU kernel computes a convolution. bf16 stays bf16 where AMX multiplies it; every other 16-bit case is computed
// in f32 on converted copies.
#include "kernels/cpu/conv.h"

#include "kernels/cpu/conv_depthwise.h"
#include "kernels/cpu/conv_direct.h"
#include "kernels/cpu/winograd.h"
#include "kernels/elementwise.h"
#include "kernels/vendor/onednn_conv.h"

namespace segrt::kernels::cpu {
namespace {
Tensor widened(const Tensor& t) {
  if (t.dtype() == DType::f32) return t;
  Tensor f32 = Tensor::empty(t.shape(), DType::f32, t.device());
  cast(t, f32);
  return f32;
}

// Runs f on an f32 stand-in for `out`, then rounds into it.
template <typename F>
void through_f32(Tensor& out, const F& f) {
  if (out.dtype() == DType::f32) return f(out);
  Tensor f32 = Tensor::empty(out.shape(), DType::f32, out.device());
  f(f32);
  cast(f32, out);
}

bool keeps_bf16(const Tensor& x) { return x.dtype() == DType::bf16 && vendor::onednn_has_amx_bf16(); }

// oneDNN 2.6.3 is wrong in bf16 weight gradients on AMX, and writes past its buffers, from image width 225 up, at some
// heights; up to 224 every size that was tried is right.
constexpr int64_t kWidestBf16WeightGradient = 224;

bool is_dilated(const ConvGeometry& g) { return g.dilation_h > 1 || g.dilation_w > 1; }

void forward_f32(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g, Tensor& y) {
  if (winograd::pays(x.shape(), w.shape(), y.shape(), g)) {
    winograd::conv2d_forward(x, w, epilogue, g, y);
    if (epilogue.silu) unary_forward(Unary::silu, y, y);  // its tiles know ReLU alone
    return;
  }
  if (!vendor::onednn_conv2d_forward(x, w, epilogue, g, y)) direct::conv2d_forward<float>(x, w, epilogue, g, y);
}

void backward_input_f32(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx) {
  if (winograd::pays(dx.shape(), w.shape(), dy.shape(), g)) return winograd::conv2d_backward_input(dy, w, g, dx);
  ConvGeometry turned;
  if (depthwise::is_depthwise(dx.shape(), w.shape(), g) && is_dilated(g) &&
      depthwise::input_gradient_as_forward(dy.shape(), w.shape(), dx.shape(), g, turned))
    return forward_f32(dy, depthwise::turned_filters(w), {}, turned, dx);
  if (!vendor::onednn_conv2d_backward_input(dy, w, g, dx)) direct::conv2d_backward_input<float>(dy, w, g, dx);
}

void backward_weight_f32(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw) {
  if (winograd::pays_for_weight(x.shape(), dw.shape(), dy.shape(), g))
    return winograd::conv2d_backward_weight(x, dy, g, dw);
  const bool large = dw.dim(1) > 3 || dw.dim(2) > 3;
  if (depthwise::is_depthwise(x.shape(), dw.shape(), g) && (large || is_dilated(g)))
    return depthwise::conv2d_backward_weight(x, dy, g, dw);
  if (!vendor::onednn_conv2d_backward_weight(x, dy, g, dw)) direct::conv2d_backward_weight<float>(x, dy, g, dw);
}
}  // namespace

void conv2d_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g, Tensor& y) {
  if (x.dtype() == DType::f64) return direct::conv2d_forward<double>(x, w, epilogue, g, y);
  if (keeps_bf16(x) && vendor::onednn_conv2d_forward(x, w, epilogue, g, y)) return;
  const Tensor residual = epilogue.residual != nullptr ? widened(*epilogue.residual) : Tensor();
  const ConvEpilogue f32_epilogue{epilogue.bias, epilogue.residual != nullptr ? &residual : nullptr, epilogue.relu,
                                  epilogue.silu};
  through_f32(y, [&](Tensor& out) { forward_f32(widened(x), widened(w), f32_epilogue, g, out); });
}

// oneDNN 2.6 has nothing but its reference loops for an output with gaps between its pixels: 170 ms against 0.3 to 8
// (two busy cores; 1x1, 64 to 128 channels, 64x64 pixels). Its matrix product takes one, in twice the time of its 1x1
// convolution: more than the copy.
bool conv2d_forward_slice(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                          Tensor& y, int64_t channel) {
  const Shape part{y.dim(0), y.dim(1), y.dim(2), w.dim(0)};
  if (x.dtype() != DType::f32 || epilogue.silu || !winograd::pays(x.shape(), w.shape(), part, g)) return false;
  winograd::conv2d_forward_slice(x, w, epilogue, g, y, channel);
  return true;
}

void conv2d_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx) {
  if (dy.dtype() == DType::f64) return direct::conv2d_backward_input<double>(dy, w, g, dx);
  if (keeps_bf16(dy) && vendor::onednn_conv2d_backward_input(dy, w, g, dx)) return;
  through_f32(dx, [&](Tensor& out) { backward_input_f32(widened(dy), widened(w), g, out); });
}

void conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw) {
  if (x.dtype() == DType::f64) return direct::conv2d_backward_weight<double>(x, dy, g, dw);
  const bool narrow = std::max(x.dim(2), dy.dim(2)) <= kWidestBf16WeightGradient;
  if (keeps_bf16(x) && narrow && vendor::onednn_conv2d_backward_weight(x, dy, g, dw)) return;
  through_f32(dw, [&](Tensor& out) { backward_weight_f32(widened(x), widened(dy), g, out); });
}

}  // namespace segrt::kernels::cpu
