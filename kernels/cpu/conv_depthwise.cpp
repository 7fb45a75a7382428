#include "kernels/cpu/conv_depthwise.h"

#include <algorithm>
#include <utility>

#include "core/parallel.h"
#include "kernels/cpu/vector_math.h"

namespace segrt::kernels::cpu::depthwise {
namespace {
constexpr int kMostColumns = 7;  // taps of a filter row whose sums stay in registers at a time

struct Problem {
  int64_t batch, height, width, channels, rows, columns;
  int64_t kernel_h, kernel_w;
  ConvGeometry g;
  const float *x, *dy;
};

// The columns q in [begin, end) for which input column q * stride - pad + tap * dilation exists.
std::pair<int64_t, int64_t> valid_columns(const Problem& p, int64_t tap) {
  const int64_t shift = p.g.pad_left - tap * p.g.dilation_w, stride = p.g.stride_w;
  const int64_t begin = shift <= 0 ? 0 : (shift + stride - 1) / stride;
  const int64_t last = p.width - 1 + shift;
  const int64_t end = last < 0 ? 0 : std::min(p.columns, last / stride + 1);
  return {std::min(begin, end), end};
}

// A vector of channels, or one of those that are left over.
template <typename V>
V load_as(const float* from) {
  if constexpr (std::is_same_v<V, float>)
    return *from;
  else
    return load(from);
}
template <typename V>
void add_to(float* to, const V& v) {
  if constexpr (std::is_same_v<V, float>)
    *to += v;
  else
    store(to, load(to) + v);
}

// sums[j] += sum over q of dy[q] * x[q * stride + j * dilation] for Taps neighbouring taps of one row.
template <int Taps, typename V>
void correlate_row(const Problem& p, const float* x_row, const float* dy_row, int64_t first_tap, V sums[Taps]) {
  const int64_t step = p.g.stride_w * p.channels, apart = p.g.dilation_w * p.channels;
  const float* x = x_row + (first_tap * p.g.dilation_w - p.g.pad_left) * p.channels;
  // All taps are inside between the first tap's first column and the last tap's end.
  std::pair<int64_t, int64_t> columns[Taps], common{0, p.columns};
  for (int j = 0; j < Taps; ++j) {
    columns[j] = valid_columns(p, first_tap + j);
    common = {std::max(common.first, columns[j].first), std::min(common.second, columns[j].second)};
  }
  common.second = std::max(common.first, common.second);
  for (int64_t q = common.first; q < common.second; ++q) {
    const V dy = load_as<V>(dy_row + q * p.channels);
#pragma GCC unroll 7
    for (int j = 0; j < Taps; ++j) sums[j] += dy * load_as<V>(x + q * step + j * apart);
  }
  const auto add = [&](int j, int64_t begin, int64_t end) {
    for (int64_t q = begin; q < end; ++q)
      sums[j] += load_as<V>(dy_row + q * p.channels) * load_as<V>(x + q * step + j * apart);
  };
  for (int j = 0; j < Taps; ++j) {
    add(j, columns[j].first, std::min(common.first, columns[j].second));
    add(j, std::max(common.second, columns[j].first), columns[j].second);
  }
}

template <int Taps, typename V>
void correlate(const Problem& p, int64_t i, int64_t first_tap, int64_t begin, int64_t end, int64_t c, float* to) {
  V sums[Taps] = {};
  for (int64_t row = begin; row < end; ++row) {
    const int64_t n = row / p.rows, h = row % p.rows * p.g.stride_h - p.g.pad_top + i * p.g.dilation_h;
    if (h < 0 || h >= p.height) continue;
    correlate_row<Taps>(p, p.x + (n * p.height + h) * p.width * p.channels + c, p.dy + row * p.columns * p.channels + c,
                        first_tap, sums);
  }
  for (int j = 0; j < Taps; ++j) add_to(to + j * p.channels, sums[j]);
}

template <typename V, int... Less>
void correlate_some(int taps, std::integer_sequence<int, Less...>, const Problem& p, int64_t i, int64_t first_tap,
                    int64_t begin, int64_t end, int64_t c, float* to) {
  static_cast<void>(((taps == Less + 1 && (correlate<Less + 1, V>(p, i, first_tap, begin, end, c, to), true)) || ...));
}

// partial [kh * kw][C] += the products of output rows [begin, end), rows counted over the batch.
void accumulate_rows(const Problem& p, int64_t begin, int64_t end, float* partial) {
  const auto channel = [&]<typename V>(int64_t c) {
    for (int64_t i = 0; i < p.kernel_h; ++i)
      for (int64_t j = 0; j < p.kernel_w; j += kMostColumns)
        correlate_some<V>(static_cast<int>(std::min<int64_t>(kMostColumns, p.kernel_w - j)),
                          std::make_integer_sequence<int, kMostColumns>(), p, i, j, begin, end, c,
                          partial + (i * p.kernel_w + j) * p.channels + c);
  };
  int64_t c = 0;
  for (; c + kLanes<float> <= p.channels; c += kLanes<float>) channel.template operator()<Lanes<float>>(c);
  for (; c < p.channels; ++c) channel.template operator()<float>(c);
}
}  // namespace

bool is_depthwise(const Shape& x, const Shape& w, const ConvGeometry& g) {
  return g.groups == x[3] && w[0] == x[3] && w[3] == 1;
}

bool input_gradient_as_forward(const Shape& dy, const Shape& w, const Shape& dx, const ConvGeometry& g,
                               ConvGeometry& geometry) {
  if (g.stride_h != 1 || g.stride_w != 1) return false;
  const auto span = [](int64_t kernel, int dilation) { return static_cast<int>(kernel - 1) * dilation; };
  geometry = g;
  geometry.pad_top = span(w[1], g.dilation_h) - g.pad_top;
  geometry.pad_left = span(w[2], g.dilation_w) - g.pad_left;
  // Whatever is left: dx's extent decides, of which the forward pass may not have read the last rows.
  geometry.pad_bottom = static_cast<int>(dx[1] - dy[1]) + span(w[1], g.dilation_h) - geometry.pad_top;
  geometry.pad_right = static_cast<int>(dx[2] - dy[2]) + span(w[2], g.dilation_w) - geometry.pad_left;
  return geometry.pad_top >= 0 && geometry.pad_left >= 0 && geometry.pad_bottom >= 0 && geometry.pad_right >= 0;
}

Tensor turned_filters(const Tensor& w) {
  Tensor turned = Tensor::like(w);
  const int64_t taps = w.dim(1) * w.dim(2);
  for (int64_t c = 0; c < w.dim(0); ++c)
    std::reverse_copy(w.data<float>() + c * taps, w.data<float>() + (c + 1) * taps, turned.data<float>() + c * taps);
  return turned;
}

void conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw) {
  constexpr int64_t kParts = 32;  // fixed, so that the order of summation does not depend on the threads
  const Problem p{x.dim(0),  x.dim(1),  x.dim(2), x.dim(3),        dy.dim(1),       dy.dim(2),
                  dw.dim(1), dw.dim(2), g,        x.data<float>(), dy.data<float>()};
  const int64_t rows = p.batch * p.rows, step = (rows + kParts - 1) / kParts, parts = (rows + step - 1) / step;
  const int64_t taps = p.kernel_h * p.kernel_w, size = taps * p.channels;
  const Tensor partials = Tensor::zeros({parts, size}, DType::f32, x.device());
  parallel_for(parts, [&](int64_t part) {
    accumulate_rows(p, part * step, std::min(rows, (part + 1) * step), partials.data<float>() + part * size);
  });
  const float* from = partials.data<float>();
  float* to = dw.data<float>();
  parallel_for(p.channels, 64, [&](int64_t c) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      float sum = 0;
      for (int64_t part = 0; part < parts; ++part) sum += from[part * size + tap * p.channels + c];
      to[c * taps + tap] = sum;
    }
  });
}

}  // namespace segrt::kernels::cpu::depthwise
