#include "kernels/cpu/conv_direct.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"

namespace segrt::kernels::cpu::direct {
namespace {
// The extents and offsets that all three loops share. "Group" quantities are per group.
struct Layout {
  int64_t batch, height, width, channels;  // of x
  int64_t rows, columns, outputs;          // of y
  int64_t kernel_h, kernel_w;
  int64_t groups, group_channels, group_outputs;
  ConvGeometry g;

  Layout(const Shape& x, const Shape& w, const Shape& y, const ConvGeometry& geometry)
      : batch(x[0]),
        height(x[1]),
        width(x[2]),
        channels(x[3]),
        rows(y[1]),
        columns(y[2]),
        outputs(y[3]),
        kernel_h(w[1]),
        kernel_w(w[2]),
        groups(geometry.groups),
        group_channels(w[3]),
        group_outputs(w[0] / geometry.groups),
        g(geometry) {}

  int64_t input_row(int64_t p, int64_t i) const { return p * g.stride_h - g.pad_top + i * g.dilation_h; }
  int64_t input_column(int64_t q, int64_t j) const { return q * g.stride_w - g.pad_left + j * g.dilation_w; }
  // The p that reads input row h through tap i, or -1.
  int64_t output_row(int64_t h, int64_t i) const {
    return output_index(h + g.pad_top - i * g.dilation_h, g.stride_h, rows);
  }
  int64_t output_column(int64_t v, int64_t j) const {
    return output_index(v + g.pad_left - j * g.dilation_w, g.stride_w, columns);
  }

 private:
  static int64_t output_index(int64_t distance, int stride, int64_t extent) {
    if (distance < 0 || distance % stride != 0 || distance / stride >= extent) return -1;
    return distance / stride;
  }
};

// w [groups, O/groups, kh, kw, C/groups] as [groups, kh, kw, C/groups, O/groups], so that the outputs of a group lie
// side by side.
template <typename T>
Tensor outputs_innermost(const Tensor& w, const Layout& s) {
  Tensor t = Tensor::like(w);
  const T* from = w.data<T>();
  T* to = t.data<T>();
  const int64_t taps = s.kernel_h * s.kernel_w * s.group_channels;
  parallel_for(s.groups * taps, 64, [&](int64_t k) {
    const int64_t group = k / taps, tap = k % taps;
    for (int64_t o = 0; o < s.group_outputs; ++o)
      to[k * s.group_outputs + o] = from[(group * s.group_outputs + o) * taps + tap];
  });
  return t;
}

// y += a * x over n elements.
template <typename T>
void add_multiple(int64_t n, T a, const T* __restrict x, T* __restrict y) {
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

template <typename T>
void finish(const ConvEpilogue& e, const T* bias, const T* residual, int64_t n, T* y) {
  for (int64_t o = 0; o < n; ++o) {
    T v = y[o] + (bias != nullptr ? bias[o] : T(0)) + (residual != nullptr ? residual[o] : T(0));
    if (e.relu) v = std::max(v, T(0));
    y[o] = e.silu ? v / (1 + std::exp(-v)) : v;
  }
}
}  // namespace

template <typename T>
void conv2d_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g, Tensor& y) {
  const Layout s(x.shape(), w.shape(), y.shape(), g);
  const Tensor packed = outputs_innermost<T>(w, s);
  const T* bias = epilogue.bias != nullptr ? epilogue.bias->data<T>() : nullptr;
  const T* residual = epilogue.residual != nullptr ? epilogue.residual->data<T>() : nullptr;
  const T *xs = x.data<T>(), *ws = packed.data<T>();
  T* ys = y.data<T>();
  parallel_ranges(s.batch * s.rows * s.columns, 16, [&](int64_t begin, int64_t end) {
    std::vector<T> sums(static_cast<size_t>(s.outputs));  // apart from y, which may be the residual
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      const int64_t n = pixel / (s.rows * s.columns), p = pixel / s.columns % s.rows, q = pixel % s.columns;
      std::fill(sums.begin(), sums.end(), T(0));
      for (int64_t i = 0; i < s.kernel_h; ++i) {
        const int64_t h = s.input_row(p, i);
        if (h < 0 || h >= s.height) continue;
        for (int64_t j = 0; j < s.kernel_w; ++j) {
          const int64_t v = s.input_column(q, j);
          if (v < 0 || v >= s.width) continue;
          const T* xp = xs + ((n * s.height + h) * s.width + v) * s.channels;
          for (int64_t c = 0; c < s.channels; ++c) {
            const int64_t group = c / s.group_channels;
            const int64_t tap = ((group * s.kernel_h + i) * s.kernel_w + j) * s.group_channels + c % s.group_channels;
            add_multiple(s.group_outputs, xp[c], ws + tap * s.group_outputs, sums.data() + group * s.group_outputs);
          }
        }
      }
      finish(epilogue, bias, residual == nullptr ? nullptr : residual + pixel * s.outputs, s.outputs, sums.data());
      std::copy(sums.begin(), sums.end(), ys + pixel * s.outputs);
    }
  });
}

template <typename T>
void conv2d_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx) {
  const Layout s(dx.shape(), w.shape(), dy.shape(), g);
  const T *dys = dy.data<T>(), *ws = w.data<T>();
  T* dxs = dx.data<T>();
  const int64_t filter = s.kernel_h * s.kernel_w * s.group_channels;
  parallel_for(s.batch * s.height * s.width, 16, [&](int64_t pixel) {
    const int64_t n = pixel / (s.height * s.width), h = pixel / s.width % s.height, v = pixel % s.width;
    T* dxp = dxs + pixel * s.channels;
    std::fill_n(dxp, s.channels, T(0));
    for (int64_t i = 0; i < s.kernel_h; ++i) {
      const int64_t p = s.output_row(h, i);
      if (p < 0) continue;
      for (int64_t j = 0; j < s.kernel_w; ++j) {
        const int64_t q = s.output_column(v, j);
        if (q < 0) continue;
        const T* dyp = dys + ((n * s.rows + p) * s.columns + q) * s.outputs;
        const T* tap = ws + (i * s.kernel_w + j) * s.group_channels;
        for (int64_t o = 0; o < s.outputs; ++o)
          add_multiple(s.group_channels, dyp[o], tap + o * filter, dxp + o / s.group_outputs * s.group_channels);
      }
    }
  });
}

template <typename T>
void conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw) {
  const Layout s(x.shape(), dw.shape(), dy.shape(), g);
  const T *xs = x.data<T>(), *dys = dy.data<T>();
  T* dws = dw.data<T>();
  const int64_t filter = s.kernel_h * s.kernel_w * s.group_channels;
  parallel_for(s.outputs * s.kernel_h * s.kernel_w, [&](int64_t k) {
    const int64_t o = k / (s.kernel_h * s.kernel_w), i = k / s.kernel_w % s.kernel_h, j = k % s.kernel_w;
    T* tap = dws + o * filter + (i * s.kernel_w + j) * s.group_channels;
    std::fill_n(tap, s.group_channels, T(0));
    for (int64_t n = 0; n < s.batch; ++n)
      for (int64_t p = 0; p < s.rows; ++p) {
        const int64_t h = s.input_row(p, i);
        if (h < 0 || h >= s.height) continue;
        for (int64_t q = 0; q < s.columns; ++q) {
          const int64_t v = s.input_column(q, j);
          if (v < 0 || v >= s.width) continue;
          add_multiple(s.group_channels, dys[((n * s.rows + p) * s.columns + q) * s.outputs + o],
                       xs + ((n * s.height + h) * s.width + v) * s.channels + o / s.group_outputs * s.group_channels,
                       tap);
        }
      }
  });
}

template void conv2d_forward<float>(const Tensor&, const Tensor&, const ConvEpilogue&, const ConvGeometry&, Tensor&);
template void conv2d_forward<double>(const Tensor&, const Tensor&, const ConvEpilogue&, const ConvGeometry&, Tensor&);
template void conv2d_backward_input<float>(const Tensor&, const Tensor&, const ConvGeometry&, Tensor&);
template void conv2d_backward_input<double>(const Tensor&, const Tensor&, const ConvGeometry&, Tensor&);
template void conv2d_backward_weight<float>(const Tensor&, const Tensor&, const ConvGeometry&, Tensor&);
template void conv2d_backward_weight<double>(const Tensor&, const Tensor&, const ConvGeometry&, Tensor&);

}  // namespace segrt::kernels::cpu::direct
