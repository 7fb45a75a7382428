#include "kernels/cpu/pool.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/pool_window.h"

namespace segrt::kernels::cpu {
namespace {

// Both axes, and f(n, row) over the rows of the pooled (`out`) or unpooled map on all threads.
struct Pooling {
  Pooling(const PoolGeometry& g, const Shape& x, const Shape& y)
      : rows(pool_rows(g, x[1], y[1])), columns(pool_columns(g, x[2], y[2])), batch(x[0]), channels(x[3]) {}
  int64_t input(int64_t n, int i, int j) const { return ((n * rows.in + i) * columns.in + j) * channels; }
  int64_t output(int64_t n, int p, int q) const { return ((n * rows.out + p) * columns.out + q) * channels; }

  PoolAxis rows, columns;
  int64_t batch, channels;
};

// What torch's max_pool2d takes for larger: a NaN is, but not than an earlier one.
template <typename A>
bool replaces(A value, A best) {
  return value > best || (value != value && best == best);
}

template <typename T, typename A>
void max_of_window(const Pooling& pool, const T* x, int64_t n, int p, int q, A* best, T* y, int32_t* index) {
  std::fill_n(best, pool.channels, -std::numeric_limits<A>::infinity());
  std::fill_n(index, pool.channels, -1);
  for (int kh = 0; kh < pool.rows.kernel; ++kh) {
    const int i = pool.rows.position(p, kh);
    if (i < 0 || i >= pool.rows.in) continue;
    for (int kw = 0; kw < pool.columns.kernel; ++kw) {
      const int j = pool.columns.position(q, kw);
      if (j < 0 || j >= pool.columns.in) continue;
      const int32_t here = i * pool.columns.in + j;
      const T* from = x + pool.input(n, i, j);
      for (int64_t c = 0; c < pool.channels; ++c) {
        const A value = static_cast<A>(from[c]);
        const bool take = replaces(value, best[c]) || index[c] < 0;
        best[c] = take ? value : best[c];
        index[c] = take ? here : index[c];
      }
    }
  }
  for (int64_t c = 0; c < pool.channels; ++c) y[c] = static_cast<T>(best[c]);
}

}  // namespace

void max_pool2d_forward(const Tensor& x, const PoolGeometry& g, Tensor& y, Tensor& index) {
  const Pooling pool(g, x.shape(), y.shape());
  dispatch_real(x.dtype(), [&]<typename T>() {
    const T* px = x.data<T>();
    T* py = y.data<T>();
    int32_t* pi = index.data<int32_t>();
    parallel_ranges(pool.batch * pool.rows.out, 1, [&](int64_t begin, int64_t end) {
      std::vector<accumulator_t<T>> best(static_cast<size_t>(pool.channels));
      for (int64_t row = begin; row < end; ++row) {
        const int64_t n = row / pool.rows.out;
        const int p = static_cast<int>(row % pool.rows.out);
        for (int q = 0; q < pool.columns.out; ++q) {
          const int64_t to = pool.output(n, p, q);
          max_of_window(pool, px, n, p, q, best.data(), py + to, pi + to);
        }
      }
    });
  });
}

void max_pool2d_backward(const Tensor& dy, const Tensor& index, const PoolGeometry& g, Tensor& dx) {
  const Pooling pool(g, dx.shape(), dy.shape());
  dispatch_real(dx.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const T* pdy = dy.data<T>();
    const int32_t* pi = index.data<int32_t>();
    T* pdx = dx.data<T>();
    parallel_ranges(pool.batch * pool.rows.in, 1, [&](int64_t begin, int64_t end) {
      std::vector<A> sums(static_cast<size_t>(pool.channels));
      for (int64_t row = begin; row < end; ++row) {
        const int64_t n = row / pool.rows.in;
        const int i = static_cast<int>(row % pool.rows.in);
        for (int j = 0; j < pool.columns.in; ++j) {
          const int32_t here = i * pool.columns.in + j;
          std::fill(sums.begin(), sums.end(), A{0});
          for (int p = pool.rows.first_window(i); p < pool.rows.end_window(i); ++p)
            for (int q = pool.columns.first_window(j); q < pool.columns.end_window(j); ++q) {
              const int64_t from = pool.output(n, p, q);
              A* s = sums.data();
              for (int64_t c = 0; c < pool.channels; ++c)
                s[c] += pi[from + c] == here ? static_cast<A>(pdy[from + c]) : A{0};
            }
          T* to = pdx + pool.input(n, i, j);
          for (int64_t c = 0; c < pool.channels; ++c) to[c] = static_cast<T>(sums[static_cast<size_t>(c)]);
        }
      }
    });
  });
}

void avg_pool2d_forward(const Tensor& x, const PoolGeometry& g, Tensor& y) {
  const Pooling pool(g, x.shape(), y.shape());
  dispatch_real(x.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const T* px = x.data<T>();
    T* py = y.data<T>();
    parallel_ranges(pool.batch * pool.rows.out, 1, [&](int64_t begin, int64_t end) {
      std::vector<A> sums(static_cast<size_t>(pool.channels));
      for (int64_t row = begin; row < end; ++row) {
        const int64_t n = row / pool.rows.out;
        const int p = static_cast<int>(row % pool.rows.out);
        for (int q = 0; q < pool.columns.out; ++q) {
          std::fill(sums.begin(), sums.end(), A{0});
          A* s = sums.data();
          for (int i = pool.rows.begin(p); i < pool.rows.end(p); ++i)
            for (int j = pool.columns.begin(q); j < pool.columns.end(q); ++j) {
              const T* from = px + pool.input(n, i, j);
              for (int64_t c = 0; c < pool.channels; ++c) s[c] += static_cast<A>(from[c]);
            }
          const A divisor = static_cast<A>(pool_divisor(pool.rows, pool.columns, p, q, g.count_include_pad));
          T* to = py + pool.output(n, p, q);
          for (int64_t c = 0; c < pool.channels; ++c) to[c] = static_cast<T>(s[c] / divisor);
        }
      }
    });
  });
}

void avg_pool2d_backward(const Tensor& dy, const PoolGeometry& g, Tensor& dx) {
  const Pooling pool(g, dx.shape(), dy.shape());
  dispatch_real(dx.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const T* pdy = dy.data<T>();
    T* pdx = dx.data<T>();
    parallel_ranges(pool.batch * pool.rows.in, 1, [&](int64_t begin, int64_t end) {
      std::vector<A> sums(static_cast<size_t>(pool.channels));
      for (int64_t row = begin; row < end; ++row) {
        const int64_t n = row / pool.rows.in;
        const int i = static_cast<int>(row % pool.rows.in);
        for (int j = 0; j < pool.columns.in; ++j) {
          std::fill(sums.begin(), sums.end(), A{0});
          A* s = sums.data();
          for (int p = pool.rows.first_window(i); p < pool.rows.end_window(i); ++p)
            for (int q = pool.columns.first_window(j); q < pool.columns.end_window(j); ++q) {
              const T* from = pdy + pool.output(n, p, q);
              const A factor = A{1} / static_cast<A>(pool_divisor(pool.rows, pool.columns, p, q, g.count_include_pad));
              for (int64_t c = 0; c < pool.channels; ++c) s[c] += static_cast<A>(from[c]) * factor;
            }
          T* to = pdx + pool.input(n, i, j);
          for (int64_t c = 0; c < pool.channels; ++c) to[c] = static_cast<T>(s[c]);
        }
      }
    });
  });
}

void global_avg_pool_forward(const Tensor& x, Tensor& y) {
  constexpr int64_t kChunk = 256;  // pixels whose sum stays in the accumulator type; chunks are summed in float64
  const int64_t batch = x.dim(0), pixels = x.dim(1) * x.dim(2), channels = x.dim(3);
  const int64_t chunks = (pixels + kChunk - 1) / kChunk;
  dispatch_real(x.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const T* px = x.data<T>();
    T* py = y.data<T>();
    std::vector<A> sums(static_cast<size_t>(batch * chunks * channels));
    parallel_for(batch * chunks, [&](int64_t k) {
      const int64_t n = k / chunks, begin = k % chunks * kChunk, end = std::min(pixels, begin + kChunk);
      A* s = sums.data() + k * channels;
      for (int64_t p = begin; p < end; ++p) {
        const T* from = px + (n * pixels + p) * channels;
        for (int64_t c = 0; c < channels; ++c) s[c] += static_cast<A>(from[c]);
      }
    });
    for (int64_t n = 0; n < batch; ++n)
      for (int64_t c = 0; c < channels; ++c) {
        double sum = 0;
        for (int64_t k = 0; k < chunks; ++k) sum += sums[static_cast<size_t>((n * chunks + k) * channels + c)];
        py[n * channels + c] = static_cast<T>(static_cast<A>(sum / static_cast<double>(pixels)));
      }
  });
}

void global_avg_pool_backward(const Tensor& dy, Tensor& dx) {
  const int64_t pixels = dx.dim(1) * dx.dim(2), channels = dx.dim(3);
  dispatch_real(dx.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const T* pdy = dy.data<T>();
    T* pdx = dx.data<T>();
    parallel_for(dx.dim(0) * dx.dim(1), [&](int64_t row) {
      const T* from = pdy + row / dx.dim(1) * channels;
      T* to = pdx + row * dx.dim(2) * channels;
      for (int64_t c = 0; c < channels; ++c) to[c] = static_cast<T>(static_cast<A>(from[c]) / static_cast<A>(pixels));
      for (int64_t j = 1; j < dx.dim(2); ++j) std::copy_n(to, channels, to + j * channels);
    });
  });
}

}  // namespace segrt::kernels::cpu
