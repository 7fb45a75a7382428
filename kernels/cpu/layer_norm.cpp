#include "kernels/cpu/layer_norm.h"

#include <cmath>
#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/column_tasks.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {
constexpr int64_t kElements = 16384;  // of a thread's share, at least

// Sums of d = v - center and of d^2 over one row.
template <typename A>
struct Deviations {
  A sum, squares;
};
template <typename A>
Deviations<A> deviations(const A* v, int64_t n, A center) {
  Deviations<A> r{0, 0};
  int64_t i = 0;
  if (n >= kLanes<A>) {
    Lanes<A> sum = broadcast<A>(0), squares = sum;
    for (; i + kLanes<A> <= n; i += kLanes<A>) {
      const Lanes<A> d = load(v + i) - center;
      sum += d;
      squares += d * d;
    }
    r = {reduce_sum<A>(sum), reduce_sum<A>(squares)};
  }
  for (; i < n; ++i) {
    const A d = v[i] - center;
    r.sum += d;
    r.squares += d * d;
  }
  return r;
}

// f(row, scratch) for every row; scratch: `arrays` times C accumulators of the calling thread.
template <typename A, typename F>
void for_rows(const Tensor& x, int64_t arrays, const F& f) {
  const int64_t channels = x.dim(-1);
  parallel_ranges(x.numel() / channels, std::max<int64_t>(1, kElements / channels), [&](int64_t begin, int64_t end) {
    std::vector<A> scratch(static_cast<size_t>(arrays * channels));
    for (int64_t row = begin; row < end; ++row) f(row, scratch.data());
  });
}

// s1[c] = sum of dy, s2[c] = sum of dy * xhat over one task's rows and channels: float within a block of rows, float64
// across blocks.
template <typename T>
void task_sums(const T* dy, const T* x, const RowStatistics& s, const ColumnTask& task, int64_t channels, double* s1,
               double* s2) {
  using Acc = accumulator_t<T>;
  const Acc *mean = s.mean.data<Acc>(), *rstd = s.rstd.data<Acc>();
  std::vector<Acc> scratch(static_cast<size_t>(2 * task.columns));
  Acc *sum = scratch.data(), *dot = sum + task.columns;
  std::fill_n(s1, task.columns, 0.0);
  std::fill_n(s2, task.columns, 0.0);
  for_blocks(task.begin, task.end, task.columns, [&](int64_t first, int64_t rows) {
    std::fill(scratch.begin(), scratch.end(), Acc{0});
    for (int64_t row = first; row < first + rows; ++row) {
      const T *dy_row = dy + row * channels + task.first, *x_row = x + row * channels + task.first;
      const Acc m = mean[row], r = rstd[row];
      for (int64_t c = 0; c < task.columns; ++c) {
        const Acc g = static_cast<Acc>(dy_row[c]);
        sum[c] += g;
        dot[c] += g * ((static_cast<Acc>(x_row[c]) - m) * r);
      }
    }
    for (int64_t c = 0; c < task.columns; ++c) {
      s1[c] += static_cast<double>(sum[c]);
      s2[c] += static_cast<double>(dot[c]);
    }
  });
}
}  // namespace

void layer_norm_forward(const Tensor& x, const Tensor* branch, const LayerNormParams& p, Tensor* sum, Tensor& y,
                        RowStatistics& s) {
  const int64_t channels = x.dim(-1);
  dispatch_real(x.dtype(), [&]<typename T>() {
    using Acc = accumulator_t<T>;
    const Acc *weight = p.weight.data<Acc>(), *bias = p.bias.data<Acc>();
    const Acc count = static_cast<Acc>(channels), eps = static_cast<Acc>(p.eps);
    for_rows<Acc>(x, 1, [&](int64_t row, Acc* v) {
      const int64_t at = row * channels;
      const T* input = x.data<T>() + at;
      if (branch != nullptr) {
        const T* addend = branch->data<T>() + at;
        T* total = sum->data<T>() + at;
        for (int64_t c = 0; c < channels; ++c)
          total[c] = static_cast<T>(static_cast<Acc>(input[c]) + static_cast<Acc>(addend[c]));
        input = total;
      }
      widen(input, v, channels);
      const Acc center = row_sum(v, channels) / count;
      const auto [deviation, squares] = deviations(v, channels, center);
      const Acc shift = deviation / count;  // what rounding has left of the mean
      const Acc mean = center + shift;
      const Acc rstd = 1 / std::sqrt(std::max(squares / count - shift * shift, Acc{0}) + eps);
      s.mean.data<Acc>()[row] = mean;
      s.rstd.data<Acc>()[row] = rstd;
      T* out = y.data<T>() + at;
      for (int64_t c = 0; c < channels; ++c) out[c] = static_cast<T>((v[c] - mean) * rstd * weight[c] + bias[c]);
    });
  });
}

void layer_norm_backward_input(const Tensor& dy, const Tensor& x, const Tensor& weight, const RowStatistics& s,
                               const Tensor* dresidual, Tensor& dx) {
  const int64_t channels = x.dim(-1);
  dispatch_real(x.dtype(), [&]<typename T>() {
    using Acc = accumulator_t<T>;
    const Acc *w = weight.data<Acc>(), count = static_cast<Acc>(channels);
    for_rows<Acc>(x, 2, [&](int64_t row, Acc* g) {
      Acc* xhat = g + channels;
      const int64_t at = row * channels;
      const T *dy_row = dy.data<T>() + at, *x_row = x.data<T>() + at;
      const Acc mean = s.mean.data<Acc>()[row], rstd = s.rstd.data<Acc>()[row];
      for (int64_t c = 0; c < channels; ++c) {
        g[c] = static_cast<Acc>(dy_row[c]) * w[c];
        xhat[c] = (static_cast<Acc>(x_row[c]) - mean) * rstd;
      }
      const Acc mean_g = row_sum(g, channels) / count, mean_gx = row_dot(g, xhat, channels) / count;
      const T* r = dresidual != nullptr ? dresidual->data<T>() + at : nullptr;
      T* out = dx.data<T>() + at;
      for (int64_t c = 0; c < channels; ++c) {
        const Acc own = rstd * (g[c] - mean_g - xhat[c] * mean_gx);
        out[c] = static_cast<T>(r != nullptr ? own + static_cast<Acc>(r[c]) : own);
      }
    });
  });
}

void layer_norm_backward_weight(const Tensor& dy, const Tensor& x, const RowStatistics& s, Tensor& dweight,
                                Tensor& dbias) {
  const int64_t channels = x.dim(-1);
  const ColumnTasks tasks(1, x.numel() / channels, channels);
  std::vector<double> s1(tasks.partials()), s2(tasks.partials());
  dispatch_real(x.dtype(), [&]<typename T>() {
    using Acc = accumulator_t<T>;
    tasks.for_each([&](const ColumnTask& task) {
      const int64_t at = tasks.partial_offset(task);
      task_sums(dy.data<T>(), x.data<T>(), s, task, channels, s1.data() + at, s2.data() + at);
    });
    for (int64_t c = 0; c < channels; ++c) {
      double sum = 0, dot = 0;
      for (int64_t k = 0; k < tasks.chunks(); ++k) {
        sum += s1[static_cast<size_t>(k * channels + c)];
        dot += s2[static_cast<size_t>(k * channels + c)];
      }
      dbias.data<Acc>()[c] = static_cast<Acc>(sum);
      dweight.data<Acc>()[c] = static_cast<Acc>(dot);
    }
  });
}

}  // namespace segrt::kernels::cpu
