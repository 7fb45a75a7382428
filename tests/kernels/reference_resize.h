// Float64 references for resizing and for the losses on resized scores, written as dense matrices from the formulas.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/shape.h"
#include "kernels/resize.h"

namespace segrt::test {

// Row-major [out, in]: one axis of a linear resize.
struct AxisMatrix {
  int64_t out, in;
  std::vector<double> w;
  AxisMatrix(int64_t out_, int64_t in_) : out(out_), in(in_), w(static_cast<size_t>(out_ * in_)) {}
  double& at(int64_t i, int64_t j) { return w[static_cast<size_t>(i * in + j)]; }
  double at(int64_t i, int64_t j) const { return w[static_cast<size_t>(i * in + j)]; }
};

inline double source_position(int64_t i, int64_t in, int64_t out, kernels::Coordinates rule, double scale = 0) {
  const auto x = static_cast<double>(i);
  const double s = scale > 0 ? 1 / scale : static_cast<double>(in) / static_cast<double>(out);
  if (rule == kernels::Coordinates::half_pixel) return (x + 0.5) * s - 0.5;
  if (rule == kernels::Coordinates::asymmetric) return x * s;
  return out == 1 ? 0 : x * static_cast<double>(in - 1) / static_cast<double>(out - 1);
}

inline AxisMatrix bilinear_matrix(int64_t in, int64_t out, kernels::Coordinates rule, double scale = 0) {
  AxisMatrix m(out, in);
  for (int64_t i = 0; i < out; ++i) {
    const double p = std::min(std::max(source_position(i, in, out, rule, scale), 0.0), static_cast<double>(in - 1));
    for (int64_t j = 0; j < in; ++j) m.at(i, j) = std::max(0.0, 1 - std::abs(p - static_cast<double>(j)));
  }
  return m;
}

// A transposed convolution along one axis: kernel t(0..15), stride 8, padding 4.
inline AxisMatrix transposed_x8_matrix(int64_t in) {
  AxisMatrix m(8 * in, in);
  for (int64_t j = 0; j < in; ++j)
    for (int64_t k = 0; k < 16; ++k) {
      const int64_t o = 8 * j - 4 + k;
      if (o >= 0 && o < 8 * in) m.at(o, j) += 1 - std::abs(static_cast<double>(k) / 8 - 15.0 / 16);
    }
  return m;
}

// y [N,P,Q,C] = rows [P,H] x columns [Q,W] applied to x [N,H,W,C].
inline std::vector<double> resized(const std::vector<double>& x, const Shape& shape, const AxisMatrix& rows,
                                   const AxisMatrix& columns) {
  const int64_t batch = shape[0], height = shape[1], width = shape[2], channels = shape[3];
  std::vector<double> y(static_cast<size_t>(batch * rows.out * columns.out * channels));
  for (int64_t n = 0; n < batch; ++n)
    for (int64_t p = 0; p < rows.out; ++p)
      for (int64_t i = 0; i < height; ++i) {
        if (rows.at(p, i) == 0) continue;
        for (int64_t q = 0; q < columns.out; ++q)
          for (int64_t j = 0; j < width; ++j) {
            const double w = rows.at(p, i) * columns.at(q, j);
            if (w == 0) continue;
            for (int64_t c = 0; c < channels; ++c)
              y[static_cast<size_t>(((n * rows.out + p) * columns.out + q) * channels + c)] +=
                  w * x[static_cast<size_t>(((n * height + i) * width + j) * channels + c)];
          }
      }
  return y;
}

inline AxisMatrix transposed(const AxisMatrix& m) {
  AxisMatrix t(m.in, m.out);
  for (int64_t i = 0; i < m.out; ++i)
    for (int64_t j = 0; j < m.in; ++j) t.at(j, i) = m.at(i, j);
  return t;
}

// Cross-entropy of rows of logits [P,C] in float64.
struct LossReference {
  std::vector<double> loss;         // [P] weighted, 0 where ignored
  std::vector<double> log_sum_exp;  // [P]
  std::vector<double> gradient;     // [P,C] of the sum of `loss`
  double total = 0, weight_sum = 0;
  int64_t correct = 0;

  LossReference(const std::vector<double>& logits, const std::vector<double>& labels, int64_t channels,
                double ignore_index, const std::vector<double>& class_weight = {}) {
    const auto classes = static_cast<size_t>(channels);
    loss.resize(labels.size());
    log_sum_exp.resize(labels.size());
    gradient.resize(logits.size());
    for (size_t p = 0; p < labels.size(); ++p) {
      if (labels[p] == ignore_index) continue;
      const auto* z = logits.data() + p * classes;
      const auto label = static_cast<size_t>(labels[p]);
      const auto* top = std::max_element(z, z + classes);  // the first of equals
      double sum = 0;
      for (size_t c = 0; c < classes; ++c) sum += std::exp(z[c] - *top);
      const double w = class_weight.empty() ? 1 : class_weight[label];
      log_sum_exp[p] = *top + std::log(sum);
      loss[p] = w * (log_sum_exp[p] - z[label]);
      for (size_t c = 0; c < classes; ++c)
        gradient[p * classes + c] = w * (std::exp(z[c] - log_sum_exp[p]) - (c == label ? 1 : 0));
      total += loss[p];
      weight_sum += w;
      correct += top == z + label;
    }
  }
};

}  // namespace segrt::test
