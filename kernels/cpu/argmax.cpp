#include "kernels/cpu/argmax.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/softmax_rows.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {

// First c with the largest value; the first NaN if there is one.
template <typename A>
int64_t first_maximum(const A* x, int64_t channels) {
  const A m = row_max(x, channels);
  if (const A sum = row_sum(x, channels); sum != sum) {  // a NaN, or infinities of both signs
    const A* nan = std::find_if(x, x + channels, [](A value) { return value != value; });
    if (nan != x + channels) return nan - x;
  }
  return std::find(x, x + channels, m) - x;
}

}  // namespace

void argmax(const Tensor& x, Tensor& y) {
  const int64_t channels = x.dim(-1);
  dispatch_real(x.dtype(), [&]<typename T>() {
    const auto write = [&]<typename Y>(Y* py) {
      using A = accumulator_t<T>;
      for_row_blocks<A>(x.data<T>(), y.numel(), channels, [&](int64_t row, int64_t rows, const A* z, A*) {
        for (int64_t r = 0; r < rows; ++r) py[row + r] = static_cast<Y>(first_maximum(z + r * channels, channels));
      });
    };
    y.dtype() == DType::u8 ? write(y.data<uint8_t>()) : write(y.data<int32_t>());
  });
}

void confusion_matrix(const Tensor& labels, const Tensor& predictions, Tensor& matrix) {
  const int64_t classes = matrix.dim(0), count = labels.numel();
  const auto* l = labels.data<uint8_t>();
  const auto* q = predictions.data<uint8_t>();
  auto* m = matrix.data<int64_t>();
  std::mutex mutex;
  // A range is long beside the matrix that it fills.
  parallel_ranges(count, std::max<int64_t>(classes * classes * 8, int64_t{1} << 16), [&](int64_t begin, int64_t end) {
    std::vector<int64_t> tally(static_cast<size_t>(classes * classes));
    for (int64_t p = begin; p < end; ++p)
      if (l[p] < classes && q[p] < classes) ++tally[static_cast<size_t>(l[p] * classes + q[p])];
    const std::lock_guard lock(mutex);
    for (int64_t i = 0; i < classes * classes; ++i) m[i] += tally[static_cast<size_t>(i)];
  });
}

}  // namespace segrt::kernels::cpu
