#include "train/sliding_window.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "kernels/elementwise.h"

namespace segrt::train {
namespace {

void check(const Tensor& image, const SlidingWindow& w) {
  if (image.rank() != 4 || image.dim(0) != 1 || image.numel() == 0)
    throw ArgumentError("sliding window: image: expected [1,H,W,C], got " + to_string(image.shape()));
  if (w.height < 1 || w.width < 1 || w.batch < 1)
    throw ArgumentError(
        fmt::format("sliding window: expected a window of at least 1x1 and a batch of at least 1, got "
                    "{}x{} and {}",
                    w.height, w.width, w.batch));
  if (w.stride_height < 1 || w.stride_width < 1 || w.stride_height > w.height || w.stride_width > w.width)
    throw ArgumentError(fmt::format("sliding window: stride: expected 1 up to the window's {}x{}, got {}x{}", w.height,
                                    w.width, w.stride_height, w.stride_width));
}

// How many of the windows hold each position of an axis.
std::vector<int64_t> window_counts(int64_t length, const std::vector<int64_t>& begins, int64_t size) {
  std::vector<int64_t> counts(static_cast<size_t>(length));
  for (const int64_t begin : begins)
    for (int64_t i = begin; i < begin + size; ++i) ++counts[static_cast<size_t>(i)];
  return counts;
}

// x [1,H,W,C] or [H,W,C] as [H,W*C]: kernels that copy slices of channels then copy parts of rows.
Tensor as_rows(const Tensor& x) {
  const int r = x.rank();
  return x.reshape({x.dim(r - 3), x.dim(r - 2) * x.dim(r - 1)});
}

// Rows of logits that further windows may still hold: their sums.
class Band {
 public:
  Band(int64_t rows, int64_t width) : rows_(rows), width_(width) {}

  // logits [1,rows,w,classes] of a window that begins at `column`.
  void add(const Tensor& logits, int64_t column) {
    classes_ = logits.dim(3);
    if (!sum_.defined()) sum_ = zeros(logits.device());
    Tensor part = Tensor::empty({rows_, logits.dim(2) * classes_}, DType::f32, logits.device());
    kernels::copy_from_channels(sum_, column * classes_, part);
    kernels::add_scaled(part, 1, as_rows(logits), 1, part);
    kernels::copy_into_channels(part, sum_, column * classes_);
  }

  // The first `count` rows, [1,count,W,classes]; those below move up and zeros follow.
  Tensor take(int64_t count) {
    const Tensor taken = sum_.slice(0, count).reshape({1, count, width_, classes_});
    Tensor next = zeros(sum_.device());
    if (count < rows_) next.slice(0, rows_ - count).copy_from(sum_.slice(count, rows_ - count));
    sum_ = next;
    return taken;
  }

 private:
  Tensor zeros(Device& device) const { return Tensor::zeros({rows_, width_ * classes_}, DType::f32, device); }

  int64_t rows_, width_, classes_ = 0;
  Tensor sum_;  // [rows, W*classes]
};

// rows [1,n,W,classes] /= how many windows hold a pixel.
void divide(Tensor& rows, int64_t first, const std::vector<int64_t>& row_counts,
            const std::vector<int64_t>& column_counts) {
  const int64_t count = rows.dim(1), width = rows.dim(2);
  std::vector<float> windows;
  windows.reserve(static_cast<size_t>(count * width));
  for (int64_t y = first; y < first + count; ++y)
    for (const int64_t columns : column_counts)
      windows.push_back(static_cast<float>(row_counts[static_cast<size_t>(y)] * columns));
  if (std::all_of(windows.begin(), windows.end(), [](float n) { return n == 1; })) return;
  kernels::binary_forward(kernels::Binary::div, rows, Tensor::from<float>({1, count, width, 1}, windows, rows.device()),
                          rows);
}

}  // namespace

std::vector<int64_t> window_begins(int64_t length, int size, int stride) {
  const int64_t count = std::max<int64_t>(length - size + stride - 1, 0) / stride + 1;
  std::vector<int64_t> begins;
  for (int64_t k = 0; k < count; ++k) begins.push_back(std::max<int64_t>(std::min(k * stride, length - size), 0));
  return begins;
}

void slide(const Tensor& image, const SlidingWindow& window, const WindowLogits& logits, const OnRows& on_rows) {
  check(image, window);
  const int64_t height = std::min<int64_t>(window.height, image.dim(1));
  const int64_t width = std::min<int64_t>(window.width, image.dim(2)), channels = image.dim(3);
  const std::vector<int64_t> tops = window_begins(image.dim(1), window.height, window.stride_height);
  const std::vector<int64_t> lefts = window_begins(image.dim(2), window.width, window.stride_width);
  const std::vector<int64_t> row_counts = window_counts(image.dim(1), tops, height);
  const std::vector<int64_t> column_counts = window_counts(image.dim(2), lefts, width);
  const auto columns = static_cast<int64_t>(lefts.size());
  // Batches as equal as they can be: a recorded pass stands for one size alone.
  const int64_t batches = (columns + window.batch - 1) / window.batch, batch = (columns + batches - 1) / batches;
  Band band(height, image.dim(2));
  for (size_t k = 0; k < tops.size(); ++k) {
    const Tensor strip = as_rows(image).slice(tops[k], height);
    for (int64_t begin = 0; begin < columns; begin += batch) {
      const int64_t count = std::min(batch, columns - begin);
      const Tensor windows = Tensor::empty({count, height, width, channels}, image.dtype(), image.device());
      for (int64_t i = 0; i < count; ++i) {
        Tensor target = as_rows(windows.slice(i, 1));
        kernels::copy_from_channels(strip, lefts[static_cast<size_t>(begin + i)] * channels, target);
      }
      const Tensor y = logits(windows);
      for (int64_t i = 0; i < count; ++i) band.add(y.slice(i, 1), lefts[static_cast<size_t>(begin + i)]);
    }
    const int64_t finished = (k + 1 < tops.size() ? tops[k + 1] : image.dim(1)) - tops[k];
    Tensor rows = band.take(finished);
    divide(rows, tops[k], row_counts, column_counts);
    on_rows(tops[k], rows);
  }
}

}  // namespace segrt::train
