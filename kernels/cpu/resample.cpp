// Compiled without contraction into fused multiply-adds, which would round differently from Pillow.
#include "kernels/cpu/resample.h"

#include <algorithm>
#include <vector>

#include "core/parallel.h"

namespace segrt::kernels::cpu {

void resample_pass(const Tensor& x, const ResampleTaps& taps, int64_t outer, int64_t inner, Tensor& y) {
  constexpr int64_t kBlock = 512;  // inner values whose sums stay in the first-level cache
  const auto* px = x.data<float>();
  auto* py = y.data<float>();
  const auto* first = taps.first.data<int32_t>();
  const auto* count = taps.count.data<int32_t>();
  const auto* weight = taps.weight.data<double>();
  parallel_for(outer * taps.out, std::max<int64_t>(1, 4096 / std::max<int64_t>(inner, 1)), [&](int64_t k) {
    const int64_t i = k % taps.out;
    const float* from = px + (k / taps.out * taps.in + first[i]) * inner;
    double sums[kBlock];
    for (int64_t begin = 0; begin < inner; begin += kBlock) {
      const int64_t n = std::min(kBlock, inner - begin);
      std::fill_n(sums, n, 0.0);
      for (int64_t t = 0; t < count[i]; ++t) {
        const double w = weight[i * taps.stride + t];
        const float* values = from + t * inner + begin;
        for (int64_t e = 0; e < n; ++e) sums[e] += static_cast<double>(values[e]) * w;
      }
      for (int64_t e = 0; e < n; ++e) py[k * inner + begin + e] = static_cast<float>(sums[e]);
    }
  });
}

}  // namespace segrt::kernels::cpu
