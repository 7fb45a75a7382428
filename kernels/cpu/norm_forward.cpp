#include <cmath>

#include "core/parallel.h"
#include "kernels/cpu/channel_rows.h"
#include "kernels/cpu/norm.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {

// Count, mean and sum of squared deviations of C channels, grown by Chan, Golub & LeVeque's (1979) rule.
class Moments {
 public:
  Moments(double* mean, double* m2, int64_t channels) : mean_(mean), m2_(m2), channels_(channels) {}
  // The moments of `count` further positions: mean center[c] + s1[c] / count, squared deviations s2[c] around center.
  template <typename Acc>
  void add(int64_t count, const Acc* center, const Acc* s1, const Acc* s2) {
    const double n = static_cast<double>(count), total = static_cast<double>(count_ + count);
    const double share = n / total, cross = static_cast<double>(count_) * n / total;
    for (int64_t c = 0; c < channels_; ++c) {
      const double shift = static_cast<double>(s1[c]) / n;
      const double delta = static_cast<double>(center[c]) + shift - mean_[c];
      mean_[c] += delta * share;
      m2_[c] += static_cast<double>(s2[c]) - shift * static_cast<double>(s1[c]) + delta * delta * cross;
    }
    count_ += count;
  }

 private:
  double *mean_, *m2_;
  int64_t channels_, count_ = 0;
};

// Moments of positions [begin, end). Each block is read twice: from memory for its mean, then from cache for the
// deviations from it, whose own sum corrects the rounding of that mean.
template <typename T>
void chunk_moments(const T* x, int64_t begin, int64_t end, int64_t channels, double* mean, double* m2) {
  using Acc = accumulator_t<T>;
  const int64_t width = wide_row(channels);
  std::vector<Acc> scratch(static_cast<size_t>(3 * width));
  Acc *center = scratch.data(), *s1 = center + width, *s2 = s1 + width;
  std::fill_n(mean, channels, 0.0);
  std::fill_n(m2, channels, 0.0);
  Moments moments(mean, m2, channels);
  for (int64_t row = begin; row < end; row += block_rows(channels)) {
    const int64_t count = std::min(block_rows(channels), end - row);
    const int64_t first = row * channels, last = first + count * channels;
    std::fill(scratch.begin(), scratch.end(), Acc{0});
    for_wide_rows(first, last, width, [&](int64_t offset, int64_t n) {
      for (int64_t i = 0; i < n; ++i) center[i] += static_cast<Acc>(x[offset + i]);
    });
    fold(center, width, channels);
    for (int64_t c = 0; c < channels; ++c) center[c] /= static_cast<Acc>(count);
    repeat(center, width, channels);
    for_wide_rows(first, last, width, [&](int64_t offset, int64_t n) {
      for (int64_t i = 0; i < n; ++i) {
        const Acc deviation = static_cast<Acc>(x[offset + i]) - center[i];
        s1[i] += deviation;
        s2[i] += deviation * deviation;
      }
    });
    fold(s1, width, channels);
    fold(s2, width, channels);
    moments.add(count, center, s1, s2);
  }
}

template <typename T, bool kResidual, bool kRelu>
void apply_rows(const T* x, const T* residual, T* y, int64_t n, const accumulator_t<T>* mean,
                const accumulator_t<T>* factor, const accumulator_t<T>* bias) {
  using Acc = accumulator_t<T>;
  for (int64_t i = 0; i < n; ++i) {
    Acc v = (static_cast<Acc>(x[i]) - mean[i]) * factor[i] + bias[i];
    if constexpr (kResidual) v += static_cast<Acc>(residual[i]);
    if constexpr (kRelu) v = v < Acc{0} ? Acc{0} : v;  // a NaN stays
    y[i] = static_cast<T>(v);
  }
}

template <typename T, bool kResidual, bool kRelu>
void apply(const Tensor& x, const BatchNormParams& p, const Tensor* residual, Tensor& y) {
  using Acc = accumulator_t<T>;
  const int64_t channels = x.dim(-1), width = wide_row(channels);
  const Acc *mean_c = p.mean.data<Acc>(), *var = p.var.data<Acc>(), *weight = p.weight.data<Acc>();
  const Acc* bias_c = p.bias.data<Acc>();
  const std::vector<Acc> mean = repeated<Acc>(channels, [&](int64_t c) { return mean_c[c]; });
  const std::vector<Acc> bias = repeated<Acc>(channels, [&](int64_t c) { return bias_c[c]; });
  const std::vector<Acc> factor =
      repeated<Acc>(channels, [&](int64_t c) { return weight[c] / std::sqrt(var[c] + static_cast<Acc>(p.eps)); });
  const T* xp = x.data<T>();
  const T* rp = kResidual ? residual->data<T>() : nullptr;
  T* yp = y.data<T>();
  parallel_ranges(x.numel() / channels, std::max<int64_t>(1, 16384 / channels), [&](int64_t begin, int64_t end) {
    for_wide_rows(begin * channels, end * channels, width, [&](int64_t offset, int64_t n) {
      apply_rows<T, kResidual, kRelu>(xp + offset, kResidual ? rp + offset : nullptr, yp + offset, n, mean.data(),
                                      factor.data(), bias.data());
    });
  });
}
}  // namespace

void batch_norm_statistics(const Tensor& x, Tensor& mean, Tensor& var) {
  const int64_t channels = x.dim(-1), positions = x.numel() / channels;
  const Chunks chunks(positions, channels);
  const auto row = static_cast<size_t>(channels);
  std::vector<double> means(static_cast<size_t>(chunks.count) * row), m2s(means.size());
  dispatch_real(x.dtype(), [&]<typename T>() {
    using Acc = accumulator_t<T>;
    parallel_for(chunks.count, [&](int64_t i) {
      const size_t at = static_cast<size_t>(i) * row;
      chunk_moments(x.data<T>(), chunks.begin(i), chunks.end(i), channels, &means[at], &m2s[at]);
    });
    std::vector<double> total_mean(row), total_m2(row);
    const std::vector<double> zeros(row);
    Moments total(total_mean.data(), total_m2.data(), channels);
    for (int64_t i = 0; i < chunks.count; ++i) {
      const size_t at = static_cast<size_t>(i) * row;
      total.add(chunks.end(i) - chunks.begin(i), &means[at], zeros.data(), &m2s[at]);
    }
    for (size_t c = 0; c < row; ++c) {
      mean.data<Acc>()[c] = static_cast<Acc>(total_mean[c]);
      var.data<Acc>()[c] = static_cast<Acc>(total_m2[c] / static_cast<double>(positions));
    }
  });
}

void batch_norm_update_running(const Tensor& mean, const Tensor& var, int64_t count, double momentum,
                               Tensor& running_mean, Tensor& running_var) {
  const double unbias = count > 1 ? static_cast<double>(count) / static_cast<double>(count - 1) : 1.0;
  const auto update = [&]<typename T>() {
    const T rate = static_cast<T>(momentum), correction = static_cast<T>(unbias);
    const T *m = mean.data<T>(), *v = var.data<T>();
    T *rm = running_mean.data<T>(), *rv = running_var.data<T>();
    for (int64_t c = 0; c < mean.numel(); ++c) {
      rm[c] += rate * (m[c] - rm[c]);
      rv[c] += rate * (v[c] * correction - rv[c]);
    }
  };
  mean.dtype() == DType::f64 ? update.template operator()<double>() : update.template operator()<float>();
}

void batch_norm_apply(const Tensor& x, const BatchNormParams& p, const Tensor* residual, bool relu, Tensor& y) {
  dispatch_real(x.dtype(), [&]<typename T>() {
    if (residual != nullptr)
      relu ? apply<T, true, true>(x, p, residual, y) : apply<T, true, false>(x, p, residual, y);
    else
      relu ? apply<T, false, true>(x, p, residual, y) : apply<T, false, false>(x, p, residual, y);
  });
}

}  // namespace segrt::kernels::cpu
