#include "kernels/cpu/softmax.h"

#include "kernels/cpu/softmax_rows.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {

void softmax_forward(const Tensor& x, Tensor& y) {
  const int64_t channels = x.dim(-1);
  dispatch_real(x.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    T* py = y.data<T>();
    for_row_blocks<A>(x.data<T>(), x.numel() / channels, channels, [&](int64_t row, int64_t rows, A* z, A*) {
      subtract_row_max(z, rows, channels);
      exp_in_place(z, rows * channels);
      for (int64_t r = 0; r < rows; ++r) {
        A* zr = z + r * channels;
        const A inverse_sum = A{1} / row_sum(zr, channels);
        for (int64_t c = 0; c < channels; ++c) zr[c] *= inverse_sum;
      }
      narrow(z, py + row * channels, rows * channels);
    });
  });
}

void softmax_backward(const Tensor& y, const Tensor& dy, Tensor& dx) {
  const int64_t channels = y.dim(-1);
  dispatch_real(y.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const T* pdy = dy.data<T>();
    T* pdx = dx.data<T>();
    for_row_blocks<A>(y.data<T>(), y.numel() / channels, channels, [&](int64_t row, int64_t rows, A* z, A* d) {
      widen(pdy + row * channels, d, rows * channels);
      for (int64_t r = 0; r < rows; ++r) {
        A* dr = d + r * channels;
        A* zr = z + r * channels;
        const A dot = row_dot(dr, zr, channels);
        for (int64_t c = 0; c < channels; ++c) zr[c] *= dr[c] - dot;
      }
      narrow(z, pdx + row * channels, rows * channels);
    });
  });
}

void log_softmax_forward(const Tensor& x, Tensor& y) {
  const int64_t channels = x.dim(-1);
  dispatch_real(x.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    T* py = y.data<T>();
    for_row_blocks<A>(x.data<T>(), x.numel() / channels, channels, [&](int64_t row, int64_t rows, A* z, A* e) {
      subtract_row_max(z, rows, channels);
      std::copy_n(z, rows * channels, e);
      exp_in_place(e, rows * channels);
      for (int64_t r = 0; r < rows; ++r) {
        const A log_sum = std::log(row_sum(e + r * channels, channels));
        for (int64_t c = 0; c < channels; ++c) z[r * channels + c] -= log_sum;
      }
      narrow(z, py + row * channels, rows * channels);
    });
  });
}

void log_softmax_backward(const Tensor& y, const Tensor& dy, Tensor& dx) {
  const int64_t channels = y.dim(-1);
  dispatch_real(y.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const T* pdy = dy.data<T>();
    T* pdx = dx.data<T>();
    for_row_blocks<A>(y.data<T>(), y.numel() / channels, channels, [&](int64_t row, int64_t rows, A* p, A* d) {
      widen(pdy + row * channels, d, rows * channels);
      exp_in_place(p, rows * channels);
      for (int64_t r = 0; r < rows; ++r) {
        A* dr = d + r * channels;
        const A sum = row_sum(dr, channels);
        for (int64_t c = 0; c < channels; ++c) dr[c] -= p[r * channels + c] * sum;
      }
      narrow(d, pdx + row * channels, rows * channels);
    });
  });
}

}  // namespace segrt::kernels::cpu
