#include "kernels/cpu/upsample_loss.h"

#include <numeric>

#include "kernels/cpu/interpolate_rows.h"
#include "kernels/cpu/labels.h"
#include "kernels/dispatch.h"

namespace segrt::kernels::cpu {
namespace {

// A row of scores at label resolution vertically, at score resolution horizontally, padded to whole vectors; pixels are
// interpolated from it one by one.
template <typename A>
struct PixelScores {
  PixelScores(const RowLayout& layout_, const AxisView& columns_)
      : layout(layout_),
        columns(columns_),
        vectors(layout.stride / kLanes<A>),
        in_last(lane_numbers<A>() < broadcast_integer<A>(layout.channels - (vectors - 1) * kLanes<A>)) {}

  // z [stride] = scores of pixel x, the padding lowest(); returns their maximum. kVectors: layout.stride / kLanes if
  // known at compile time (z then lives in registers), else 0.
  template <int kVectors>
  A operator()(const A* row, int64_t x, A* z) const {
    const A* left = row + columns.index[x] * layout.stride;
    const A* right = row + columns.second(x) * layout.stride;
    const A w0 = columns.weight[2 * x], w1 = columns.weight[2 * x + 1];
    const int64_t count = kVectors > 0 ? kVectors : vectors;
    const Lanes<A> lowest = broadcast(std::numeric_limits<A>::lowest());
    Lanes<A> largest = lowest;
    for (int64_t v = 0; v < count; ++v) {
      Lanes<A> s = w0 * load(left + v * kLanes<A>) + w1 * load(right + v * kLanes<A>);
      if (v == count - 1) s = in_last ? s : lowest;
      store(z + v * kLanes<A>, s);
      largest = largest > s ? largest : s;
    }
    return reduce_max<A>(largest);
  }

  RowLayout layout;
  AxisView columns;
  int64_t vectors;
  IntegerLanes<A> in_last;  // lanes of the last vector that hold a class
};

// sum_c exp(z[c] - m); the padding adds nothing.
template <int kVectors, typename A>
A sum_of_exp(const A* z, int64_t vectors, A m) {
  const int64_t count = kVectors > 0 ? kVectors : vectors;
  Lanes<A> sum{};
  for (int64_t v = 0; v < count; ++v) sum += exp_lanes(load(z + v * kLanes<A>) - m);
  return reduce_sum<A>(sum);
}

struct RowTotals {
  double loss = 0, weight = 0;
  int64_t correct = 0;
};

template <int kVectors, typename A>
RowTotals loss_row(const PixelScores<A>& scores, const A* row, const uint8_t* labels, const LabelWeights& weights,
                   A* log_sum_exp, A* z) {
  RowTotals totals;
  for (int64_t x = 0; x < scores.columns.out; ++x) {
    const int label = labels[x];
    if (!weights.counts(label)) {
      log_sum_exp[x] = 0;
      continue;
    }
    const A m = scores.template operator()<kVectors>(row, x, z);
    const A log_sum = std::log(sum_of_exp<kVectors>(z, scores.vectors, m));
    const A score = z[label];
    log_sum_exp[x] = m + log_sum;
    const double weight = weights.of(label);
    totals.loss += weight * static_cast<double>(log_sum - (score - m));
    totals.weight += weight;
    if (score == m) {  // right unless an earlier class scores the same
      bool earlier = false;
      for (int c = 0; c < label; ++c) earlier |= z[c] == m;
      totals.correct += !earlier;
    }
  }
  return totals;
}

// Calls f.operator()<kVectors>() for the usual class counts (up to two vectors), f.operator()<0>() for the others.
template <typename F>
void dispatch_vectors(int64_t vectors, const F& f) {
  if (vectors == 1) return f.template operator()<1>();
  if (vectors == 2) return f.template operator()<2>();
  f.template operator()<0>();
}

// The backward pass of one row of labels: adds to d [width, stride] what the row's pixels pass to the scores, but for
// the factor dloss / weight_sum.
template <typename A>
struct GradientRow {
  struct Pixel {
    A weight, log_sum_exp;
    int64_t label;
  };

  void operator()(const A* row, const uint8_t* labels, const LabelWeights& weights, const A* log_sum_exp, A* d) {
    for (int64_t x = 0; x < columns.out; ++x)
      pixels[static_cast<size_t>(x)] = {weights.of(labels[x]), log_sum_exp[x], labels[x]};
    // Pixels between the same two columns share their scores and their sums, which stay in registers.
    for (int64_t begin = 0, end = 0; begin < columns.out; begin = end) {
      while (end < columns.out && columns.index[end] == columns.index[begin]) ++end;
      const int64_t left = columns.index[begin] * layout.stride, right = columns.second(begin) * layout.stride;
      for (int64_t c = 0; c < layout.stride; c += kLanes<A>)
        add_cell(load(row + left + c), load(row + right + c), begin, end, c, d + left + c, d + right + c);
    }
  }

  void add_cell(const Lanes<A>& a, const Lanes<A>& b, int64_t begin, int64_t end, int64_t channel, A* da, A* db) const {
    const IntegerLanes<A> classes = lane_numbers<A>() + broadcast_integer<A>(channel);
    const Lanes<A> one = broadcast(A{1}), zero{};
    Lanes<A> sum_a{}, sum_b{};
    for (int64_t x = begin; x < end; ++x) {
      const Pixel& pixel = pixels[static_cast<size_t>(x)];
      if (pixel.weight == 0) continue;
      const A w0 = columns.weight[2 * x], w1 = columns.weight[2 * x + 1];
      const Lanes<A> p = exp_lanes(w0 * a + w1 * b - pixel.log_sum_exp);
      const Lanes<A> g = pixel.weight * (p - (classes == broadcast_integer<A>(pixel.label) ? one : zero));
      sum_a += w0 * g;
      sum_b += w1 * g;
    }
    store(da, load(da) + sum_a);  // da may be db, at the last column
    store(db, load(db) + sum_b);
  }

  RowLayout layout;
  AxisView columns;
  std::vector<Pixel> pixels;  // of the row: weight 0 where ignored
};

}  // namespace

void upsample_cross_entropy_forward(const Tensor& scores, const UpsampleTaps& taps, const Tensor& labels,
                                    const UpsampleLossOptions& o, Tensor& loss, Tensor& weight_sum, Tensor& log_sum_exp,
                                    Tensor& correct) {
  const AxisView rows(taps.y), columns(taps.x);
  const LabelWeights weights(o.ignore_index, o.class_weight);
  check_labels("upsample_cross_entropy", labels, scores.dim(3), o.ignore_index);
  const uint8_t* l = labels.data<uint8_t>();
  std::vector<RowTotals> totals(static_cast<size_t>(scores.dim(0) * rows.out));
  dispatch_real(scores.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const RowLayout layout = padded_layout<A>(columns.in, scores.dim(3));
    const int64_t image_size = rows.in * layout.width * layout.channels;
    const PixelScores<A> pixel_scores(layout, columns);
    const T* x = scores.data<T>();
    A* lse = log_sum_exp.data<A>();
    dispatch_vectors(pixel_scores.vectors, [&]<int kVectors>() {
      parallel_ranges(static_cast<int64_t>(totals.size()), 1, [&](int64_t begin, int64_t end) {
        std::vector<A> row(static_cast<size_t>(layout.size())), z(static_cast<size_t>(layout.stride));
        for (int64_t k = begin; k < end; ++k) {
          interpolate_row(x + k / rows.out * image_size, rows, k % rows.out, layout, row.data());
          totals[static_cast<size_t>(k)] = loss_row<kVectors>(pixel_scores, row.data(), l + k * columns.out, weights,
                                                              lse + k * columns.out, z.data());
        }
      });
    });
    RowTotals sum = std::accumulate(totals.begin(), totals.end(), RowTotals{}, [](RowTotals a, RowTotals b) {
      return RowTotals{a.loss + b.loss, a.weight + b.weight, a.correct + b.correct};
    });
    if (o.count_ignored) sum.weight = static_cast<double>(labels.numel());
    *loss.data<A>() = sum.weight != 0 ? static_cast<A>(sum.loss / sum.weight) : A{0};
    *weight_sum.data<A>() = static_cast<A>(sum.weight);
    *correct.data<int64_t>() = sum.correct;
  });
}

void upsample_cross_entropy_backward(const Tensor& scores, const UpsampleTaps& taps, const Tensor& labels,
                                     const UpsampleLossOptions& o, const Tensor& log_sum_exp, const Tensor& weight_sum,
                                     const Tensor& dloss, Tensor& dscores) {
  const AxisView rows(taps.y), columns(taps.x);
  const LabelWeights weights(o.ignore_index, o.class_weight);
  check_labels("upsample_cross_entropy_backward", labels, scores.dim(3), o.ignore_index);
  const uint8_t* l = labels.data<uint8_t>();
  dispatch_real(scores.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const RowLayout layout = padded_layout<A>(columns.in, scores.dim(3));
    const int64_t image_size = rows.in * layout.width * layout.channels;
    const T* x = scores.data<T>();
    const A* lse = log_sum_exp.data<A>();
    const A total = *weight_sum.data<A>();
    const A scale = total != 0 ? *dloss.data<A>() / total : A{0};
    transpose_rows<T, A>(rows, scores.dim(0), layout, scale, dscores.data<T>(), [&](int64_t n, int64_t i, A* d) {
      std::vector<A> row(static_cast<size_t>(layout.size()));
      GradientRow<A> gradient{layout, columns,
                              std::vector<typename GradientRow<A>::Pixel>(static_cast<size_t>(columns.out))};
      const int64_t offset = (n * rows.out + i) * columns.out;
      interpolate_row(x + n * image_size, rows, i, layout, row.data());
      gradient(row.data(), l + offset, weights, lse + offset, d);
    });
  });
}

void upsample_argmax(const Tensor& scores, const UpsampleTaps& taps, Tensor& prediction) {
  const AxisView rows(taps.y), columns(taps.x);
  uint8_t* y = prediction.data<uint8_t>();
  dispatch_real(scores.dtype(), [&]<typename T>() {
    using A = accumulator_t<T>;
    const RowLayout layout = padded_layout<A>(columns.in, scores.dim(3));
    const int64_t image_size = rows.in * layout.width * layout.channels;
    const PixelScores<A> pixel_scores(layout, columns);
    const T* x = scores.data<T>();
    dispatch_vectors(pixel_scores.vectors, [&]<int kVectors>() {
      parallel_ranges(scores.dim(0) * rows.out, 1, [&](int64_t begin, int64_t end) {
        std::vector<A> row(static_cast<size_t>(layout.size())), z(static_cast<size_t>(layout.stride));
        for (int64_t k = begin; k < end; ++k) {
          interpolate_row(x + k / rows.out * image_size, rows, k % rows.out, layout, row.data());
          for (int64_t j = 0; j < columns.out; ++j) {
            const A m = pixel_scores.template operator()<kVectors>(row.data(), j, z.data());
            const auto* found = std::find(z.data(), z.data() + layout.channels, m);
            const int64_t c = found - z.data();
            y[k * columns.out + j] = static_cast<uint8_t>(c < layout.channels ? c : 0);
          }
        }
      });
    });
  });
}

}  // namespace segrt::kernels::cpu
