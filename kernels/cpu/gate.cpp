#include "kernels/cpu/gate.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/reduce.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {

// dz[n,s]: what comes through tanh and ReLU.
template <typename A>
std::vector<A> pre_activation_gradient(const Tensor& dg, const Tensor& g) {
  std::vector<A> dz(static_cast<size_t>(g.numel()));
  for (size_t i = 0; i < dz.size(); ++i) {
    const A value = g.data<A>()[i];
    dz[i] = value > A{0} ? dg.data<A>()[i] * (A{1} - value * value) : A{0};
  }
  return dz;
}

// dy: every position of sample n gets the same row of channels.
template <typename T>
void spread(const std::vector<accumulator_t<T>>& dz, const Tensor& weight, Tensor& dy) {
  using A = accumulator_t<T>;
  const int64_t batch = dy.dim(0), height = dy.dim(1), width = dy.dim(2), channels = dy.dim(3), slots = weight.dim(0);
  const A* w = weight.data<A>();
  const A share = A{1} / static_cast<A>(height * width);
  std::vector<T> rows(static_cast<size_t>(batch * channels));
  for (int64_t n = 0; n < batch; ++n)
    for (int64_t k = 0; k < channels; ++k) {
      A sum = 0;
      for (int64_t s = 0; s < slots; ++s) sum += dz[static_cast<size_t>(n * slots + s)] * w[s * channels + k];
      rows[static_cast<size_t>(n * channels + k)] = static_cast<T>(sum * share);
    }
  T* to = dy.data<T>();
  parallel_for(batch * height, std::max<int64_t>(1, 16384 / (width * channels)), [&](int64_t row) {
    const T* from = rows.data() + row / height * channels;
    for (int64_t j = 0; j < width; ++j) std::copy_n(from, channels, to + (row * width + j) * channels);
  });
}

// From the sums over positions: the means, then the 1x1 convolution and the activation.
template <typename A>
void finish(const Tensor& weight, const Tensor& bias, int64_t pixels, Tensor& pooled, Tensor& z, Tensor& g) {
  const int64_t batch = pooled.dim(0), channels = pooled.dim(1), slots = weight.dim(0);
  for (int64_t n = 0; n < batch; ++n) {
    A* mean = pooled.data<A>() + n * channels;
    for (int64_t k = 0; k < channels; ++k) mean[k] /= static_cast<A>(pixels);
    for (int64_t s = 0; s < slots; ++s) {
      const A* w = weight.data<A>() + s * channels;
      double sum = static_cast<double>(bias.data<A>()[s]);
      for (int64_t k = 0; k < channels; ++k) sum += static_cast<double>(w[k]) * static_cast<double>(mean[k]);
      const A before = static_cast<A>(sum), value = std::tanh(before);
      z.data<A>()[n * slots + s] = before;
      g.data<A>()[n * slots + s] = value < A{0} ? A{0} : value;  // a NaN stays one
    }
  }
}

template <typename A>
void backward(const Tensor& dg, const Tensor& pooled, const Tensor& g, const Tensor& weight, Tensor* dy,
              Tensor* dweight, Tensor* dbias) {
  const int64_t batch = g.dim(0), channels = pooled.dim(1), slots = weight.dim(0);
  const std::vector<A> dz = pre_activation_gradient<A>(dg, g);
  if (dbias != nullptr) dbias->fill_zero();
  if (dweight != nullptr) dweight->fill_zero();
  for (int64_t n = 0; n < batch; ++n)
    for (int64_t s = 0; s < slots; ++s) {
      const A d = dz[static_cast<size_t>(n * slots + s)];
      if (dbias != nullptr) dbias->data<A>()[s] += d;
      if (dweight == nullptr) continue;
      const A* mean = pooled.data<A>() + n * channels;
      A* sum = dweight->data<A>() + s * channels;
      for (int64_t k = 0; k < channels; ++k) sum[k] += d * mean[k];
    }
  if (dy == nullptr) return;
  if constexpr (std::is_same_v<A, double>)
    spread<double>(dz, weight, *dy);
  else
    dispatch_float(dy->dtype(), [&]<typename T>() { spread<T>(dz, weight, *dy); });
}

}  // namespace

void gate_forward(const Tensor& y, const Tensor& weight, const Tensor& bias, Tensor& pooled, Tensor& z, Tensor& g) {
  const int64_t pixels = y.dim(1) * y.dim(2);
  sum_middle(y.reshape({y.dim(0), pixels, y.dim(3)}), pooled);
  pooled.dtype() == DType::f64 ? finish<double>(weight, bias, pixels, pooled, z, g)
                               : finish<float>(weight, bias, pixels, pooled, z, g);
}

void gate_backward(const Tensor& dg, const Tensor& pooled, const Tensor& g, const Tensor& weight, Tensor* dy,
                   Tensor* dweight, Tensor* dbias) {
  dg.dtype() == DType::f64 ? backward<double>(dg, pooled, g, weight, dy, dweight, dbias)
                           : backward<float>(dg, pooled, g, weight, dy, dweight, dbias);
}

}  // namespace segrt::kernels::cpu
