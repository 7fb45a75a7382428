// One row of pixels at label resolution from low-resolution scores, as the fused loss and argmax read it.
#pragma once

#include "kernels/cuda/axis_view.cuh"

namespace segrt::kernels::cuda {

constexpr int kRowPixels = 256;                             // of a block, one a thread
constexpr int64_t kRowFloats = 10 * 1024;                   // shared memory for scores: 40 KiB
SEGRT_HOST_DEVICE constexpr int row_stride(int channels) {  // odd: neighbouring columns start in different banks
  return channels | 1;
}

template <typename T>
struct RowProblem {
  const T* scores;  // [N,h,w,C]
  AxisView rows, columns;
  int channels;
  int capacity;  // columns that fit the block's shared memory
};

template <typename T>
RowProblem<T> row_problem(const Tensor& scores, const UpsampleTaps& taps) {
  const AxisView rows(taps.y), columns(taps.x);
  const int channels = static_cast<int>(scores.dim(3));
  // Columns that a block's pixels can span, but for rounding and align_corners' steeper slope when shrinking: then the
  // block reads global memory instead.
  const int64_t span = ceil_div(int64_t{kRowPixels} * columns.in, columns.out) + 3;
  const int64_t capacity = std::min({span, int64_t{columns.in}, kRowFloats / row_stride(channels)});
  return {scores.data<T>(), rows, columns, channels, static_cast<int>(capacity)};
}
template <typename T>
size_t row_shared_bytes(const RowProblem<T>& p) {
  return static_cast<size_t>(p.capacity) * static_cast<size_t>(row_stride(p.channels)) * sizeof(float);
}
template <typename T>
Dim3 row_grid(const RowProblem<T>& p, int64_t batch) {
  return {blocks_for(p.columns.out, kRowPixels), p.rows.out, batch};
}

// Scores of one pixel from the block's interpolated row in shared memory.
struct StagedScores {
  const float* left;
  const float* right;
  float x0, x1;
  SEGRT_DEVICE float operator()(int c) const { return x0 * left[c] + x1 * right[c]; }
};
// The same from global memory.
template <typename T>
struct GlobalScores {
  const T* upper;
  const T* lower;
  int64_t left, right;
  float y0, y1, x0, x1;
  SEGRT_DEVICE float operator()(int c) const {
    const float l = y0 * to_float(upper[left + c]) + y1 * to_float(lower[left + c]);
    const float r = y0 * to_float(upper[right + c]) + y1 * to_float(lower[right + c]);
    return x0 * l + x1 * r;
  }
};

// Calls visit(x, scores) for the thread's pixel x of row block_index().y of image block_index().z, if it has one. Every
// thread of the block calls this. The columns that the block's pixels read are interpolated vertically once, into
// shared memory, where neighbouring pixels read the same words.
template <typename T, typename Visit>
SEGRT_DEVICE void visit_row_pixels(const RowProblem<T>& p, const Visit& visit) {
  float* staged = dynamic_shared<float>();
  const int i = block_index().y, top = p.rows.index[i];
  const float y0 = p.rows.weight[2 * i], y1 = p.rows.weight[2 * i + 1];
  const int64_t image = int64_t{block_index().z} * p.rows.in, row_size = int64_t{p.columns.in} * p.channels;
  const T* upper = p.scores + (image + top) * row_size;
  const T* lower = p.scores + (image + p.rows.second(top)) * row_size;
  const int begin = block_index().x * kRowPixels, end = std::min(begin + kRowPixels, p.columns.out);
  const int first = p.columns.index[begin], span = p.columns.second(p.columns.index[end - 1]) - first + 1;
  const int stride = row_stride(p.channels);
  const bool fits = span <= p.capacity;
  if (fits)
    for (int column = warp_index(); column < span; column += warps_per_block())
      for (int c = lane_index(); c < p.channels; c += kWarpSize) {
        const int64_t from = int64_t{first + column} * p.channels + c;
        staged[column * stride + c] = y0 * to_float(upper[from]) + y1 * to_float(lower[from]);
      }
  sync_block();
  const int x = begin + linear_thread();
  if (x >= end) return;
  const int left = p.columns.index[x], right = p.columns.second(left);
  const float x0 = p.columns.weight[2 * x], x1 = p.columns.weight[2 * x + 1];
  if (fits)
    visit(x, StagedScores{staged + (left - first) * stride, staged + (right - first) * stride, x0, x1});
  else
    visit(x, GlobalScores<T>{upper, lower, int64_t{left} * p.channels, int64_t{right} * p.channels, y0, y1, x0, x1});
}

struct TopScore {
  float value;
  int index;  // the first of equals
};
template <typename Scores>
SEGRT_DEVICE TopScore top_score(const Scores& scores, int channels) {
  TopScore top{scores(0), 0};
  for (int c = 1; c < channels; ++c) {
    const float value = scores(c);
    if (value > top.value) top = {value, c};
  }
  return top;
}

}  // namespace segrt::kernels::cuda
