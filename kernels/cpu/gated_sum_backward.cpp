#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/gated_sum.h"
#include "kernels/cpu/gated_terms.h"
#include "kernels/cpu/map_chunks.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {

using TermSums = std::array<double, kMaxGatedTerms>;

// dx[i] = f d[i], and sum d x where wanted, over a chunk of n <= kGatedChunk elements that both maps have in common.
template <typename T>
void chunk_gradient(const TermView<T>& term, accumulator_t<T> f, const accumulator_t<T>* d, const T* x, T* dx,
                    int64_t n, double& sum) {
  using A = accumulator_t<T>;
  if (dx != nullptr)
    for (int64_t i = 0; i < n; ++i) dx[i] = static_cast<T>(f * d[i]);
  if (term.dgate != nullptr) {
    std::array<A, kGatedChunk> buffer;
    sum += static_cast<double>(row_dot(d, widened(x, n, buffer.data()), n));
  }
}

// f(offset, n) for the chunks of a row of `size` elements.
template <typename F>
void for_chunks(int64_t size, const F& f) {
  for (int64_t i = 0; i < size; i += kGatedChunk) f(i, std::min(kGatedChunk, size - i));
}

// The whole pass over dy in pairs of rows: rows 2i and 2i + 1 are what row i of a half-sized map is nearest to.
template <typename T>
struct Backward {
  using A = accumulator_t<T>;
  struct Scratch {
    std::vector<A> columns;  // dy gathered along the vertical: a row [width, channels]
    std::vector<A> pixels;   // and along the horizontal: `tile()` pixels of the half-sized map
  };
  int64_t tile() const { return std::max<int64_t>(1, kGatedChunk / 2 / m.channels); }

  // Row p of dy, for the terms that are not upsampled.
  void add_row(int64_t n, int64_t p, TermSums& sums) const {
    const T* d_row = dy + (n * m.height + p) * m.row_size();
    for_chunks(m.row_size(), [&](int64_t at, int64_t size) {
      std::array<A, kGatedChunk> buffer;
      const A* d = widened(d_row + at, size, buffer.data());
      for (size_t t = 0; t < terms.count; ++t) {
        const TermView<T>& term = terms.term[t];
        if (term.upsample2) continue;
        const A f = term.factor(n);
        T* dx = term.dx != nullptr ? term.row(term.dx, m, n, p) + at : nullptr;
        if (f != A{0})
          chunk_gradient(term, f, d, term.x != nullptr ? term.row(term.x, m, n, p) + at : nullptr, dx, size, sums[t]);
        else if (dx != nullptr)
          std::fill_n(dx, size, T(0.0f));
      }
    });
  }

  // The transpose of upsampling gathers row i from rows 2i - 1 ... 2i + 2 with weights 1/4, 3/4, 3/4, 1/4. Clamping
  // here gives what clamping gave there: at an edge the outermost row of y took both of its taps from one row of x.
  void gather_rows(int64_t n, int64_t i, A* __restrict columns) const {
    const auto row = [&](int64_t p) {
      return dy + (n * m.height + std::clamp<int64_t>(p, 0, m.height - 1)) * m.row_size();
    };
    const T *a = row(2 * i - 1), *b = row(2 * i), *c = row(2 * i + 1), *d = row(2 * i + 2);
    for (int64_t e = 0; e < m.row_size(); ++e)
      columns[e] = A(0.75) * (static_cast<A>(b[e]) + static_cast<A>(c[e])) +
                   A(0.25) * (static_cast<A>(a[e]) + static_cast<A>(d[e]));
  }
  // The same along a row, for pixels [begin, end) of the half-sized map.
  void gather_columns(const A* columns, int64_t begin, int64_t end, A* pixels) const {
    for_channel_lanes<A>(m.channels, [&]<typename V>(int64_t k) {
      const auto column = [&](int64_t q) {
        return load_as<V>(columns + std::clamp<int64_t>(q, 0, m.width - 1) * m.channels + k);
      };
      V a = column(2 * begin - 1), b = column(2 * begin);
      for (int64_t j = begin; j < end; ++j) {
        const V c = column(2 * j + 1), d = column(2 * j + 2);
        store_as<V>(pixels + (j - begin) * m.channels + k, A(0.75) * (b + c) + A(0.25) * (a + d));
        a = c;
        b = d;
      }
    });
  }

  // Row i of the half-sized maps. <dy, R x> = <R^T dy, x>: the gates' gradients come from what dx needs anyway.
  void add_half_row(int64_t n, int64_t i, Scratch& s, TermSums& sums) const {
    bool any = false;
    for (const TermView<T>& term : terms) {
      if (!term.upsample2) continue;
      const bool open = term.factor(n) != A{0};
      any = any || (open && (term.dx != nullptr || term.dgate != nullptr));
      if (!open && term.dx != nullptr) std::fill_n(term.row(term.dx, m, n, i), m.half_row_size(), T(0.0f));
    }
    if (!any) return;
    gather_rows(n, i, s.columns.data());
    for (int64_t j = 0; j < m.half_width(); j += tile()) {
      const int64_t end = std::min(m.half_width(), j + tile());
      gather_columns(s.columns.data(), j, end, s.pixels.data());
      for_chunks((end - j) * m.channels, [&](int64_t at, int64_t size) {
        for (size_t t = 0; t < terms.count; ++t) {
          const TermView<T>& term = terms.term[t];
          const A f = term.factor(n);
          if (!term.upsample2 || f == A{0}) continue;
          const int64_t offset = j * m.channels + at;
          const T* x = term.x != nullptr ? term.row(term.x, m, n, i) + offset : nullptr;
          T* dx = term.dx != nullptr ? term.row(term.dx, m, n, i) + offset : nullptr;
          chunk_gradient(term, f, s.pixels.data() + at, x, dx, size, sums[t]);
        }
      });
    }
  }

  void run() const {
    const int64_t pairs = (m.height + 1) / 2;
    const bool upsampled =
        std::any_of(terms.begin(), terms.end(), [](const TermView<T>& term) { return term.upsample2; });
    std::vector<TermSums> sums(static_cast<size_t>(m.batch * pairs));
    parallel_ranges(m.batch * pairs, std::max<int64_t>(1, 8192 / m.row_size()), [&](int64_t begin, int64_t end) {
      Scratch scratch;
      if (upsampled) {
        scratch.columns.resize(static_cast<size_t>(m.row_size()));
        scratch.pixels.resize(static_cast<size_t>(tile() * m.channels));
      }
      for (int64_t k = begin; k < end; ++k) {
        const int64_t n = k / pairs, i = k % pairs;
        TermSums& own = sums[static_cast<size_t>(k)];
        for (int64_t p = 2 * i; p < std::min(2 * i + 2, m.height); ++p) add_row(n, p, own);
        if (upsampled) add_half_row(n, i, scratch, own);
      }
    });
    for (size_t t = 0; t < terms.count; ++t) {
      const TermView<T>& term = terms.term[t];
      if (term.dgate == nullptr) continue;
      for (int64_t n = 0; n < m.batch; ++n) {
        double total = 0;
        for (int64_t i = 0; i < pairs; ++i) total += sums[static_cast<size_t>(n * pairs + i)][t];
        term.dgate[n * term.slots + term.slot] += static_cast<A>(total);
      }
    }
  }

  MapExtent m;
  const T* dy;
  TermViews<T> terms;
};

}  // namespace

void gated_sum_backward(const Tensor& dy, std::span<const GatedTerm> terms, std::span<const GatedTermGrads> grads) {
  dispatch_real(dy.dtype(), [&]<typename T>() {
    TermViews<T> views(terms);
    for (size_t t = 0; t < terms.size(); ++t) {
      if (grads[t].dx != nullptr) views.term[t].dx = grads[t].dx->data<T>();
      if (grads[t].dgate != nullptr) views.term[t].dgate = grads[t].dgate->data<accumulator_t<T>>();
    }
    Backward<T>{MapExtent(dy.shape()), dy.data<T>(), views}.run();
  });
}

}  // namespace segrt::kernels::cpu
