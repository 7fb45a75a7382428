#include "kernels/cpu/cross_entropy.h"

#include <numeric>

#include "kernels/cpu/labels.h"
#include "kernels/cpu/softmax_rows.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {

// Sum of the labels' weights: in float64, over fixed chunks, in order.
template <typename L>
double sum_of_weights(const L* labels, int64_t count, const LabelWeights& weights) {
  constexpr int64_t kChunk = 1 << 15;
  std::vector<double> sums(static_cast<size_t>((count + kChunk - 1) / kChunk));
  parallel_for(static_cast<int64_t>(sums.size()), [&](int64_t k) {
    double sum = 0;
    for (int64_t p = k * kChunk; p < std::min(count, (k + 1) * kChunk); ++p) sum += weights.of(labels[p]);
    sums[static_cast<size_t>(k)] = sum;
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

// scale[p], or scale[0] where all positions share it.
template <typename A>
struct Scale {
  explicit Scale(const Tensor& t) : values(t.data<A>()), step(t.numel() == 1 ? 0 : 1) {}
  A operator[](int64_t p) const { return values[p * step]; }
  const A* values;
  int64_t step;
};

// f.operator()<T, A, L>(): element type of x, its accumulator, type of the labels.
template <typename F>
void dispatch_loss(const Tensor& x, const Tensor& labels, const F& f) {
  dispatch_real(x.dtype(), [&]<typename T>() {
    dispatch_label(labels.dtype(), [&]<typename L>() { f.template operator()<T, accumulator_t<T>, L>(); });
  });
}

}  // namespace

void cross_entropy_forward(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& o, Tensor& loss,
                           Tensor& weight_sum) {
  const int64_t channels = logits.dim(-1);
  const LabelWeights weights(o.ignore_index, o.class_weight);
  check_labels("cross_entropy", labels, channels, o.ignore_index);
  dispatch_loss(logits, labels, [&]<typename T, typename A, typename L>() {
    const L* l = labels.data<L>();
    A* to = loss.data<A>();
    for_row_blocks<A>(logits.data<T>(), labels.numel(), channels, [&](int64_t row, int64_t rows, A* z, A* e) {
      subtract_row_max(z, rows, channels);
      std::copy_n(z, rows * channels, e);
      exp_in_place(e, rows * channels);
      for (int64_t r = 0; r < rows; ++r) {
        const auto label = static_cast<int64_t>(l[row + r]);
        to[row + r] = weights.counts(label)
                          ? static_cast<A>(weights.of(label)) *
                                (std::log(row_sum(e + r * channels, channels)) - z[r * channels + label])
                          : A{0};
      }
    });
    *weight_sum.data<A>() = static_cast<A>(sum_of_weights(l, labels.numel(), weights));
  });
}

void cross_entropy_backward(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& o,
                            const Tensor& scale, Tensor& dlogits) {
  const int64_t channels = logits.dim(-1);
  const LabelWeights weights(o.ignore_index, o.class_weight);
  check_labels("cross_entropy_backward", labels, channels, o.ignore_index);
  dispatch_loss(logits, labels, [&]<typename T, typename A, typename L>() {
    const L* l = labels.data<L>();
    const Scale<A> scales(scale);
    T* to = dlogits.data<T>();
    for_row_blocks<A>(logits.data<T>(), labels.numel(), channels, [&](int64_t row, int64_t rows, A* z, A*) {
      subtract_row_max(z, rows, channels);
      exp_in_place(z, rows * channels);
      for (int64_t r = 0; r < rows; ++r) {
        A* p = z + r * channels;
        const auto label = static_cast<int64_t>(l[row + r]);
        if (!weights.counts(label)) {
          std::fill_n(p, channels, A{0});
          continue;
        }
        const A factor = scales[row + r] * static_cast<A>(weights.of(label));
        const A inverse_sum = A{1} / row_sum(p, channels);
        for (int64_t c = 0; c < channels; ++c) p[c] *= inverse_sum;
        p[label] -= A{1};
        for (int64_t c = 0; c < channels; ++c) p[c] *= factor;
      }
      narrow(z, to + row * channels, rows * channels);
    });
  });
}

void nll_forward(const Tensor& log_probabilities, const Tensor& labels, const CrossEntropyOptions& o, Tensor& loss,
                 Tensor& weight_sum) {
  const int64_t channels = log_probabilities.dim(-1);
  const LabelWeights weights(o.ignore_index, o.class_weight);
  check_labels("nll", labels, channels, o.ignore_index);
  dispatch_loss(log_probabilities, labels, [&]<typename T, typename A, typename L>() {
    const T* x = log_probabilities.data<T>();
    const L* l = labels.data<L>();
    A* to = loss.data<A>();
    parallel_for(labels.numel(), 4096, [&](int64_t p) {
      const auto label = static_cast<int64_t>(l[p]);
      to[p] =
          weights.counts(label) ? static_cast<A>(weights.of(label)) * -static_cast<A>(x[p * channels + label]) : A{0};
    });
    *weight_sum.data<A>() = static_cast<A>(sum_of_weights(l, labels.numel(), weights));
  });
}

void nll_backward(const Tensor& labels, const CrossEntropyOptions& o, const Tensor& scale, Tensor& dx) {
  const int64_t channels = dx.dim(-1);
  const LabelWeights weights(o.ignore_index, o.class_weight);
  check_labels("nll_backward", labels, channels, o.ignore_index);
  dx.fill_zero();
  dispatch_loss(dx, labels, [&]<typename T, typename A, typename L>() {
    const L* l = labels.data<L>();
    const Scale<A> scales(scale);
    T* to = dx.data<T>();
    parallel_for(labels.numel(), 4096, [&](int64_t p) {
      const auto label = static_cast<int64_t>(l[p]);
      if (weights.counts(label))
        to[p * channels + label] = static_cast<T>(-scales[p] * static_cast<A>(weights.of(label)));
    });
  });
}

}  // namespace segrt::kernels::cpu
