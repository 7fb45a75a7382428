#include <bit>
#include <cmath>
#include <type_traits>

#include "core/parallel.h"
#include "kernels/cpu/channel_rows.h"
#include "kernels/cpu/column_tasks.h"
#include "kernels/cpu/norm.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {

// Count, mean and sum of squared deviations of C channels, grown by Chan, Golub & LeVeque's (1979) rule.
class Moments {
 public:
  // Grows the moments of `count` positions in mean and m2.
  Moments(double* mean, double* m2, int64_t channels, int64_t count = 0)
      : mean_(mean), m2_(m2), channels_(channels), count_(count) {}
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
  void add(const Moments& other) { add(other.count_, other.mean_, other.m2_); }
  // The same where they are known by mean and m2 themselves.
  void add(int64_t count, const double* mean, const double* m2) {
    const double n = static_cast<double>(count), total = static_cast<double>(count_ + count);
    const double share = n / total, cross = static_cast<double>(count_) * n / total;
    for (int64_t c = 0; c < channels_; ++c) {
      const double delta = mean[c] - mean_[c];
      mean_[c] += delta * share;
      m2_[c] += m2[c] + delta * delta * cross;
    }
    count_ += count;
  }

 private:
  double *mean_, *m2_;
  int64_t channels_, count_;
};

// Of a statistic in f64, rounded to 41 bits first. The mean of few positions often lies in the middle between two
// floats; where the sums have had another order, it is 1e-16 off there, and would be rounded the other way.
template <typename T>
T rounded(double statistic) {
  if constexpr (std::is_same_v<T, float>) {
    constexpr uint64_t kHalf = uint64_t{1} << 11;
    if (std::isfinite(statistic))
      statistic = std::bit_cast<double>((std::bit_cast<uint64_t>(statistic) + kHalf) & ~(2 * kHalf - 1));
  }
  return static_cast<T>(statistic);
}

// Of a biased variance over so many positions; the same bits here and in what processes combine.
double unbiased_correction(double count) { return count > 1 ? count / (count - 1) : 1; }
template <typename T>
T unbiased(T var, double correction) {
  return static_cast<T>(static_cast<double>(var) * correction);
}

// s1[i] += d, s2[i] += d^2 with d = x[i] - shift[i], for i < n of kRows rows `step` apart: several at once, so that the
// sums are loaded and stored less often than the data.
template <int kRows, typename T, typename Acc>
void add_deviations(const T* x, int64_t step, int64_t n, const Acc* __restrict shift, Acc* __restrict s1,
                    Acc* __restrict s2) {
  for (int64_t i = 0; i < n; ++i) {
    Acc sum = 0, squares = 0;
    for (int r = 0; r < kRows; ++r) {
      const Acc deviation = static_cast<Acc>(x[r * step + i]) - shift[i];
      sum += deviation;
      squares += deviation * deviation;
    }
    s1[i] += sum;
    s2[i] += squares;
  }
}

// Moments of one task's positions and channels, in one pass: each block sums deviations from a shift near its mean. The
// shift is the mean of all blocks before it; a block far from that shift adds so much to m2 itself that the rounding of
// its sums does not matter. Before the first block, the mean of its first eighth: part of the sample, so the same
// holds.
template <typename T>
void task_moments(const T* x, const ColumnTask& task, int64_t channels, double* mean, double* m2) {
  using Acc = accumulator_t<T>;
  const int64_t columns = task.columns, joined = joined_rows(task.end - task.begin, columns, channels);
  const int64_t width = joined * columns;
  std::vector<Acc> scratch(static_cast<size_t>(3 * width));
  Acc *s1 = scratch.data(), *s2 = s1 + width, *shift = s2 + width;
  std::fill_n(mean, columns, 0.0);
  std::fill_n(m2, columns, 0.0);
  Moments moments(mean, m2, columns);
  for_blocks(task.begin, task.end, columns, [&](int64_t row, int64_t rows) {
    const T* block = x + row * channels + task.first;
    if (row == task.begin) {
      const int64_t sampled = (rows + 7) / 8;
      for_joined_rows(sampled, joined, columns, channels, [&](int64_t offset, int64_t n) {
        for (int64_t i = 0; i < n; ++i) shift[i] += static_cast<Acc>(block[offset + i]);
      });
      fold(shift, width, columns);
      for (int64_t c = 0; c < columns; ++c) shift[c] /= static_cast<Acc>(sampled);
    } else {
      for (int64_t c = 0; c < columns; ++c) shift[c] = static_cast<Acc>(mean[c]);
    }
    repeat(shift, width, columns);
    std::fill_n(s1, 2 * width, Acc{0});
    const int64_t quads = rows / (4 * joined) * (4 * joined);
    for_joined_rows(quads, 4 * joined, columns, channels, [&](int64_t offset, int64_t) {
      add_deviations<4>(block + offset, joined * channels, width, shift, s1, s2);
    });
    for_joined_rows(rows - quads, joined, columns, channels, [&](int64_t offset, int64_t n) {
      add_deviations<1>(block + quads * channels + offset, 0, n, shift, s1, s2);
    });
    fold(s1, width, columns);
    fold(s2, width, columns);
    moments.add(rows, shift, s1, s2);
  });
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
  const int64_t channels = x.dim(-1), samples = samples_of(x);
  const int64_t positions = x.numel() / channels, of_sample = positions / samples;
  const ColumnTasks tasks(samples, of_sample, channels);
  const auto partials = static_cast<int64_t>(tasks.partials());
  const Tensor memory = Tensor::empty({2 * partials}, DType::f64, x.device());
  double *means = memory.data<double>(), *m2s = means + partials;
  dispatch_real(x.dtype(), [&]<typename T>() {
    tasks.for_each([&](const ColumnTask& task) {
      const int64_t at = tasks.partial_offset(task);
      const T* sample = x.data<T>() + task.outer * of_sample * channels;
      task_moments(sample, task, channels, means + at, m2s + at);
    });
  });
  // The moments of chunk 0 of a sample grow into those of the sample, those of sample 0 into those of all.
  parallel_ranges(channels, 256, [&](int64_t begin, int64_t end) {
    const auto moments = [&](int64_t n, int64_t k, int64_t count) {
      const int64_t at = (n * tasks.chunks() + k) * channels + begin;
      return Moments(means + at, m2s + at, end - begin, count);
    };
    Moments total = moments(0, 0, of_sample);
    for (int64_t n = 0; n < samples; ++n) {
      Moments sample = moments(n, 0, tasks.chunk_rows(0));
      for (int64_t k = 1; k < tasks.chunks(); ++k) sample.add(moments(n, k, tasks.chunk_rows(k)));
      if (n > 0) total.add(sample);
    }
  });
  const auto write = [&]<typename T>() {
    for (int64_t c = 0; c < channels; ++c) {
      mean.data<T>()[c] = rounded<T>(means[c]);
      var.data<T>()[c] = rounded<T>(m2s[c] / static_cast<double>(positions));
    }
  };
  mean.dtype() == DType::f64 ? write.template operator()<double>() : write.template operator()<float>();
}

void batch_norm_from_sums(const Tensor& sum, const Tensor& sum_squares, int64_t count, Tensor& mean, Tensor& var) {
  const auto finish = [&]<typename T>() {
    for (int64_t c = 0; c < sum.numel(); ++c) {
      const double m = static_cast<double>(sum.data<T>()[c]) / static_cast<double>(count);
      const double v = static_cast<double>(sum_squares.data<T>()[c]) / static_cast<double>(count) - m * m;
      mean.data<T>()[c] = static_cast<T>(m);
      var.data<T>()[c] = static_cast<T>(v < 0 ? 0 : v);  // a NaN stays
    }
  };
  sum.dtype() == DType::f64 ? finish.template operator()<double>() : finish.template operator()<float>();
}

void batch_norm_combine(const Tensor& messages, Tensor& mean, Tensor& var, Tensor& unbiased_var, Tensor& count) {
  const int64_t channels = mean.numel(), width = 2 * channels + 1;
  std::vector<double> means(static_cast<size_t>(channels)), m2s(means.size());
  double positions = 0;
  const auto add_rows = [&]<typename T>() {
    std::vector<double> center(means.size()), m2(means.size());
    Moments total(means.data(), m2s.data(), channels);
    for (int64_t r = 0; r < messages.dim(0); ++r) {
      const T* row = messages.data<T>() + r * width;
      const auto n = static_cast<double>(row[2 * channels]);
      if (n == 0) continue;
      for (size_t c = 0; c < means.size(); ++c) {
        center[c] = static_cast<double>(row[c]);
        m2[c] = static_cast<double>(row[means.size() + c]) * n;
      }
      total.add(static_cast<int64_t>(n), center.data(), m2.data());
      positions += n;
    }
  };
  messages.dtype() == DType::f64 ? add_rows.template operator()<double>() : add_rows.template operator()<float>();
  const double n = std::max(positions, 1.0), correction = unbiased_correction(positions);
  const auto write = [&]<typename T>() {
    for (int64_t c = 0; c < channels; ++c) {
      mean.data<T>()[c] = rounded<T>(means[static_cast<size_t>(c)]);
      var.data<T>()[c] = rounded<T>(m2s[static_cast<size_t>(c)] / n);
      unbiased_var.data<T>()[c] = unbiased(var.data<T>()[c], correction);
    }
    count.data<T>()[0] = static_cast<T>(positions);
  };
  mean.dtype() == DType::f64 ? write.template operator()<double>() : write.template operator()<float>();
}

void batch_norm_update_running(const Tensor& mean, const Tensor& var, int64_t count, double momentum,
                               Tensor& running_mean, Tensor& running_var) {
  const double correction = unbiased_correction(static_cast<double>(count));
  const auto update = [&]<typename T>() {
    const T rate = static_cast<T>(momentum);
    const T *m = mean.data<T>(), *v = var.data<T>();
    T *rm = running_mean.data<T>(), *rv = running_var.data<T>();
    for (int64_t c = 0; c < mean.numel(); ++c) {
      if (!std::isfinite(m[c]) || !std::isfinite(v[c])) continue;
      rm[c] += rate * (m[c] - rm[c]);
      rv[c] += rate * (unbiased(v[c], correction) - rv[c]);
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
