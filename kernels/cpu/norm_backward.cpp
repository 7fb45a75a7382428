#include <cmath>

#include "core/parallel.h"
#include "kernels/cpu/channel_rows.h"
#include "kernels/cpu/column_tasks.h"
#include "kernels/cpu/norm.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {

// sum_g[c] = sum of g, sum_gx[c] = sum of g * (x - mean) over one task's positions and channels: float within a block,
// float64 across blocks.
template <typename T, bool kRelu>
void task_sums(const T* dy, const T* x, const T* y, const accumulator_t<T>* mean, const ColumnTask& task,
               int64_t channels, double* sum_g, double* sum_gx) {
  using Acc = accumulator_t<T>;
  const int64_t columns = task.columns, joined = joined_rows(task.end - task.begin, columns, channels);
  const int64_t width = joined * columns;
  std::vector<Acc> scratch(static_cast<size_t>(2 * width));
  Acc *s1 = scratch.data(), *s2 = s1 + width;
  mean += task.first;
  std::fill_n(sum_g, columns, 0.0);
  std::fill_n(sum_gx, columns, 0.0);
  for_blocks(task.begin, task.end, columns, [&](int64_t row, int64_t rows) {
    std::fill(scratch.begin(), scratch.end(), Acc{0});
    const int64_t first = row * channels + task.first;
    for_joined_rows(rows, joined, columns, channels, [&](int64_t offset, int64_t n) {
      const T *dy_row = dy + first + offset, *x_row = x + first + offset;
      const T* y_row = kRelu ? y + first + offset : nullptr;
      for (int64_t i = 0; i < n; ++i) {
        Acc g = static_cast<Acc>(dy_row[i]);
        if constexpr (kRelu) g = static_cast<Acc>(y_row[i]) > Acc{0} ? g : Acc{0};
        s1[i] += g;
        s2[i] += g * (static_cast<Acc>(x_row[i]) - mean[i]);
      }
    });
    fold(s1, width, columns);
    fold(s2, width, columns);
    for (int64_t c = 0; c < columns; ++c) {
      sum_g[c] += static_cast<double>(s1[c]);
      sum_gx[c] += static_cast<double>(s2[c]);
    }
  });
}

template <typename T, bool kRelu>
void reduce(const Tensor& dy, const Tensor& x, const Tensor* y, const BatchNormParams& p, Tensor& sum_dy,
            Tensor& sum_dy_xhat) {
  using Acc = accumulator_t<T>;
  const int64_t channels = x.dim(-1), samples = samples_of(x), sample_size = x.numel() / samples;
  const ColumnTasks tasks(samples, sample_size / channels, channels);
  const Acc *mean_c = p.mean.data<Acc>(), *var = p.var.data<Acc>();
  const std::vector<Acc> mean = repeated<Acc>(channels, [&](int64_t c) { return mean_c[c]; });
  const auto partials = static_cast<int64_t>(tasks.partials());
  const Tensor memory = Tensor::empty({2 * partials}, DType::f64, x.device());
  double *g = memory.data<double>(), *gx = g + partials;
  tasks.for_each([&](const ColumnTask& task) {
    const int64_t at = tasks.partial_offset(task), sample = task.outer * sample_size;
    task_sums<T, kRelu>(dy.data<T>() + sample, x.data<T>() + sample, kRelu ? y->data<T>() + sample : nullptr,
                        mean.data(), task, channels, g + at, gx + at);
  });
  parallel_ranges(channels, 256, [&](int64_t begin, int64_t end) {
    for (int64_t k = 1; k < samples * tasks.chunks(); ++k)
      for (int64_t c = begin; c < end; ++c) {
        g[c] += g[k * channels + c];
        gx[c] += gx[k * channels + c];
      }
  });
  const auto write = [&]<typename S>() {
    for (int64_t c = 0; c < channels; ++c) {
      const double std = std::sqrt(static_cast<double>(var[c]) + p.eps);
      sum_dy.data<S>()[c] = static_cast<S>(g[c]);
      sum_dy_xhat.data<S>()[c] = static_cast<S>(gx[c] / std);
    }
  };
  sum_dy.dtype() == DType::f64 ? write.template operator()<double>() : write.template operator()<float>();
}

// dx = factor * (g - mean_g) - (x - mean) * slope, the per-channel arrays one wide row each.
template <typename T, bool kRelu, bool kTraining, bool kResidual>
void apply_rows(const T* dy, const T* x, const T* y, T* dx, T* dresidual, int64_t n, const accumulator_t<T>* factor,
                const accumulator_t<T>* mean, const accumulator_t<T>* mean_g, const accumulator_t<T>* slope) {
  using Acc = accumulator_t<T>;
  for (int64_t i = 0; i < n; ++i) {
    Acc g = static_cast<Acc>(dy[i]);
    if constexpr (kRelu) g = static_cast<Acc>(y[i]) > Acc{0} ? g : Acc{0};
    Acc v;
    if constexpr (kTraining)
      v = factor[i] * (g - mean_g[i]) - (static_cast<Acc>(x[i]) - mean[i]) * slope[i];
    else
      v = factor[i] * g;
    if constexpr (kResidual) dresidual[i] = static_cast<T>(g);
    dx[i] = static_cast<T>(v);
  }
}

template <typename T, bool kRelu, bool kTraining, bool kResidual>
void apply(const Tensor& dy, const Tensor& x, const Tensor* y, const BatchNormParams& p, const Tensor* sum_dy,
           const Tensor* sum_dy_xhat, int64_t count, Tensor& dx, Tensor* dresidual) {
  using Acc = accumulator_t<T>;
  const int64_t channels = x.dim(-1), width = wide_row(channels);
  const Acc *mean_c = p.mean.data<Acc>(), *var = p.var.data<Acc>(), *weight = p.weight.data<Acc>();
  const auto rstd = [&](int64_t c) { return Acc{1} / std::sqrt(var[c] + static_cast<Acc>(p.eps)); };
  const std::vector<Acc> mean = repeated<Acc>(channels, [&](int64_t c) { return mean_c[c]; });
  const std::vector<Acc> factor = repeated<Acc>(channels, [&](int64_t c) { return weight[c] * rstd(c); });
  std::vector<Acc> mean_g, slope;
  if constexpr (kTraining) {
    const Acc n = static_cast<Acc>(count), *sg = sum_dy->data<Acc>(), *sgx = sum_dy_xhat->data<Acc>();
    mean_g = repeated<Acc>(channels, [&](int64_t c) { return sg[c] / n; });
    slope = repeated<Acc>(channels, [&](int64_t c) { return weight[c] * rstd(c) * rstd(c) * (sgx[c] / n); });
  }
  const T *dyp = dy.data<T>(), *xp = x.data<T>(), *yp = kRelu ? y->data<T>() : nullptr;
  T *dxp = dx.data<T>(), *drp = kResidual ? dresidual->data<T>() : nullptr;
  parallel_ranges(x.numel() / channels, std::max<int64_t>(1, 16384 / channels), [&](int64_t begin, int64_t end) {
    for_wide_rows(begin * channels, end * channels, width, [&](int64_t offset, int64_t n) {
      apply_rows<T, kRelu, kTraining, kResidual>(dyp + offset, xp + offset, kRelu ? yp + offset : nullptr, dxp + offset,
                                                 kResidual ? drp + offset : nullptr, n, factor.data(), mean.data(),
                                                 mean_g.data(), slope.data());
    });
  });
}
}  // namespace

void batch_norm_backward_reduce(const Tensor& dy, const Tensor& x, const Tensor* y, const BatchNormParams& p,
                                Tensor& sum_dy, Tensor& sum_dy_xhat) {
  dispatch_real(x.dtype(), [&]<typename T>() {
    y != nullptr ? reduce<T, true>(dy, x, y, p, sum_dy, sum_dy_xhat)
                 : reduce<T, false>(dy, x, y, p, sum_dy, sum_dy_xhat);
  });
}

void batch_norm_backward_apply(const Tensor& dy, const Tensor& x, const Tensor* y, const BatchNormParams& p,
                               const Tensor* sum_dy, const Tensor* sum_dy_xhat, int64_t count, Tensor& dx,
                               Tensor* dresidual) {
  dispatch_real(x.dtype(), [&]<typename T>() {
    const auto pick = [&]<bool kRelu, bool kTraining>() {
      dresidual != nullptr ? apply<T, kRelu, kTraining, true>(dy, x, y, p, sum_dy, sum_dy_xhat, count, dx, dresidual)
                           : apply<T, kRelu, kTraining, false>(dy, x, y, p, sum_dy, sum_dy_xhat, count, dx, dresidual);
    };
    if (sum_dy != nullptr)
      y != nullptr ? pick.template operator()<true, true>() : pick.template operator()<false, true>();
    else
      y != nullptr ? pick.template operator()<true, false>() : pick.template operator()<false, false>();
  });
}

}  // namespace segrt::kernels::cpu
