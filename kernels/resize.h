// Resizing of maps [N,H,W,C] -> [N,P,Q,C]. f32, bf16, f16 (CPU: also f64); interpolation in f32 or better.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

enum class ResizeMode : uint8_t { nearest, bilinear };
// Where output position i reads, s = in/out:  half_pixel (i + 0.5)*s - 0.5;  align_corners i*(in-1)/(out-1); asymmetric
// i*s.
enum class Coordinates : uint8_t { half_pixel, align_corners, asymmetric };
// How nearest rounds the position. PyTorch's "nearest" is asymmetric + floor, "nearest-exact" half_pixel + half_up.
enum class NearestRounding : uint8_t { floor, ceil, half_down, half_up };

struct ResizeOptions {
  ResizeMode mode = ResizeMode::bilinear;
  Coordinates coordinates = Coordinates::half_pixel;
  NearestRounding rounding = NearestRounding::floor;
  double scale_h = 0, scale_w = 0;  // out/in to use in place of the sizes' ratio; 0: the ratio
};

void resize_forward(const Tensor& x, const ResizeOptions& options, Tensor& y);
void resize_backward(const Tensor& dy, const ResizeOptions& options, Tensor& dx);  // gathered: deterministic

// Pillow's bilinear resampling of float maps (triangle filter, widened when shrinking, so antialiased): columns first,
// then rows, a pass that keeps its size is skipped. Sums in double, each pass rounded to f32; weights as in
// data/resample.h. x, y f32.
void resample_bilinear(const Tensor& x, Tensor& y);

// y[n,h,w,c] = x[n,h,W-1-w,c]; any dtype; y may not be x.
void flip_horizontal(const Tensor& x, Tensor& y);

}  // namespace segrt::kernels
