#include "kernels/cpu/mixed_cross_entropy.h"

#include <cmath>

#include "kernels/cpu/labels.h"
#include "kernels/cpu/softmax_rows.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {
// The two classes of a row with their weights, and the weight that all classes share.
template <typename A>
struct Target {
  int64_t own, other;
  A own_weight, other_weight, each;

  Target(const MixedTargets& t, int64_t row, int64_t channels) {
    const int64_t* labels = t.labels.data<int64_t>();
    own = labels[row];
    other = labels[t.labels.numel() - 1 - row];
    const A share = t.share.defined() ? static_cast<A>(*t.share.data<float>()) : A{1};
    own_weight = static_cast<A>(1 - t.smoothing) * share;
    other_weight = static_cast<A>(1 - t.smoothing) * (A{1} - share);
    each = static_cast<A>(t.smoothing / static_cast<double>(channels));
  }
};
constexpr int64_t kIgnoreNone = 0;  // a class, which check_labels lets pass anyway: no label is ignored
}  // namespace

void mixed_cross_entropy_forward(const Tensor& logits, const MixedTargets& targets, Tensor& loss) {
  const int64_t channels = logits.dim(1);
  check_labels("mixed_cross_entropy", targets.labels, channels, kIgnoreNone);
  dispatch_real(logits.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    for_row_blocks<A>(logits.data<T>(), logits.dim(0), channels, [&](int64_t row, int64_t rows, A* z, A* e) {
      subtract_row_max(z, rows, channels);
      std::copy_n(z, rows * channels, e);
      exp_in_place(e, rows * channels);
      for (int64_t r = 0; r < rows; ++r) {
        const Target<A> t(targets, row + r, channels);
        const A* zr = z + r * channels;
        A expected = t.own_weight * zr[t.own] + t.other_weight * zr[t.other];
        if (t.each > 0) expected += t.each * row_sum(zr, channels);
        loss.data<A>()[row + r] = std::log(row_sum(e + r * channels, channels)) - expected;
      }
    });
  });
}

void mixed_cross_entropy_backward(const Tensor& logits, const MixedTargets& targets, const Tensor& scale,
                                  Tensor& dlogits) {
  const int64_t channels = logits.dim(1);
  check_labels("mixed_cross_entropy_backward", targets.labels, channels, kIgnoreNone);
  dispatch_real(logits.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const A factor = *scale.data<A>();
    for_row_blocks<A>(logits.data<T>(), logits.dim(0), channels, [&](int64_t row, int64_t rows, A* z, A*) {
      subtract_row_max(z, rows, channels);
      exp_in_place(z, rows * channels);
      for (int64_t r = 0; r < rows; ++r) {
        const Target<A> t(targets, row + r, channels);
        A* p = z + r * channels;
        const A inverse_sum = A{1} / row_sum(p, channels);
        for (int64_t c = 0; c < channels; ++c) p[c] = p[c] * inverse_sum - t.each;
        p[t.own] -= t.own_weight;
        p[t.other] -= t.other_weight;
        T* to = dlogits.data<T>() + (row + r) * channels;
        for (int64_t c = 0; c < channels; ++c) to[c] = static_cast<T>(factor * p[c]);
      }
    });
  });
}

}  // namespace segrt::kernels::cpu
