#include <vector>

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/map_chunks.h"
#include "kernels/dispatch.h"
#include "kernels/elementwise_formulas.h"

namespace segrt::kernels::cpu {
namespace {

template <typename Acc>
void binary_chunk(Binary op, const Acc* a, const Acc* b, Acc* y, int64_t n) {
  dispatch_binary(op, [&]<Binary kOp>() {
    for (int64_t i = 0; i < n; ++i) y[i] = binary_value<kOp>(a[i], b[i]);
  });
}

// Fills out[0, n) with the elements of b that stand opposite elements [first, first + n) of a.
class Expander {
 public:
  explicit Expander(const Runs& runs) : runs_(runs) {
    int64_t stride = 1;
    for (int r = runs.count - 1; r >= 0; --r) {
      strides_[static_cast<size_t>(r)] = run(r).kept ? stride : 0;
      if (run(r).kept) stride *= run(r).extent;
    }
  }

  template <typename T>
  void expand(const T* b, int64_t first, int64_t n, accumulator_t<T>* out) const {
    const int last = runs_.count - 1;
    if (last < 0) {
      std::fill_n(out, n, static_cast<accumulator_t<T>>(b[0]));
      return;
    }
    const int64_t inner = run(last).extent;
    for (int64_t at = 0; at < n;) {
      const int64_t outer = (first + at) / inner, column = (first + at) % inner;
      const int64_t length = std::min(inner - column, n - at);
      const T* row = b + offset_of(outer);
      if (run(last).kept)
        for (int64_t i = 0; i < length; ++i) out[at + i] = static_cast<accumulator_t<T>>(row[column + i]);
      else
        std::fill_n(out + at, length, static_cast<accumulator_t<T>>(row[0]));
      at += length;
    }
  }

  // Elements after which b's row starts again, 0 where it never does: b's innermost run, repeated.
  int64_t period() const {
    const int last = runs_.count - 1;
    return last == 1 && run(1).kept ? run(1).extent : 0;
  }

 private:
  const Run& run(int r) const { return runs_.run[static_cast<size_t>(r)]; }
  // Offset in b of element `outer` of all runs but the last.
  int64_t offset_of(int64_t outer) const {
    int64_t offset = 0;
    for (int r = runs_.count - 2; r >= 0; --r) {
      offset += outer % run(r).extent * strides_[static_cast<size_t>(r)];
      outer /= run(r).extent;
    }
    return offset;
  }

  const Runs& runs_;
  std::array<int64_t, Shape::kMaxRank> strides_{};
};

// A vector over the innermost run (a bias) repeats: expand it once, then take windows of the copies.
template <typename T>
void binary_periodic(Binary op, const Tensor& a, const Tensor& b, int64_t period, Tensor& y) {
  using Acc = accumulator_t<T>;
  std::vector<Acc> copies(static_cast<size_t>(period + kMapChunk));
  for (int64_t i = 0; i < period + kMapChunk; ++i)
    copies[static_cast<size_t>(i)] = static_cast<Acc>(b.data<T>()[i % period]);
  map_chunks<T, 1>(a.numel(), {a.data<T>()}, y.data<T>(), [&](const auto& in, Acc* out, int64_t n, int64_t first) {
    binary_chunk(op, in[0], copies.data() + first % period, out, n);
  });
}

template <typename T>
void binary_broadcast(Binary op, const Tensor& a, const Tensor& b, const Runs& runs, Tensor& y) {
  using Acc = accumulator_t<T>;
  const Expander expander(runs);
  map_chunks<T, 1>(a.numel(), {a.data<T>()}, y.data<T>(), [&](const auto& in, Acc* out, int64_t n, int64_t first) {
    std::array<Acc, kMapChunk> expanded;
    expander.expand(b.data<T>(), first, n, expanded.data());
    binary_chunk(op, in[0], expanded.data(), out, n);
  });
}
}  // namespace

void binary_forward(Binary op, const Tensor& a, const Tensor& b, const Runs& runs, Tensor& y) {
  dispatch_real(a.dtype(), [&]<typename T>() {
    using Acc = accumulator_t<T>;
    if (a.numel() == b.numel()) {
      map_chunks<T, 2>(a.numel(), {a.data<T>(), b.data<T>()}, y.data<T>(),
                       [&](const auto& in, Acc* out, int64_t n, int64_t) { binary_chunk(op, in[0], in[1], out, n); });
    } else if (const int64_t period = Expander(runs).period(); period > 0) {
      binary_periodic<T>(op, a, b, period, y);
    } else {
      binary_broadcast<T>(op, a, b, runs, y);
    }
  });
}

void add_scaled(const Tensor& a, double alpha, const Tensor& b, double beta, Tensor& y) {
  dispatch_real(a.dtype(), [&]<typename T>() {
    using Acc = accumulator_t<T>;
    const Acc p = static_cast<Acc>(alpha), q = static_cast<Acc>(beta);
    map_chunks<T, 2>(a.numel(), {a.data<T>(), b.data<T>()}, y.data<T>(),
                     [&](const auto& in, Acc* out, int64_t n, int64_t) {
                       for (int64_t i = 0; i < n; ++i) out[i] = p * in[0][i] + q * in[1][i];
                     });
  });
}

void scale(const Tensor& x, double alpha, double beta, Tensor& y) {
  dispatch_real(x.dtype(), [&]<typename T>() {
    using Acc = accumulator_t<T>;
    const Acc p = static_cast<Acc>(alpha), q = static_cast<Acc>(beta);
    map_chunks<T, 1>(x.numel(), {x.data<T>()}, y.data<T>(), [&](const auto& in, Acc* out, int64_t n, int64_t) {
      for (int64_t i = 0; i < n; ++i) out[i] = p * in[0][i] + q;
    });
  });
}

}  // namespace segrt::kernels::cpu
