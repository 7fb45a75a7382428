// A large image through a network in overlapping windows of one size, as networks are tested that were trained on
// crops.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/tensor.h"

namespace segrt::train {

struct SlidingWindow {
  int height = 0, width = 0;
  int stride_height = 0, stride_width = 0;  // at most the window's sides
  int batch = 4;                            // windows that go through the network at a time, of one row of them
};

// Begin of each window along an axis: ceil((length - size) / stride) + 1 of them, `stride` apart, the last one moved
// back so that it ends with the axis. One at 0 where the axis is not longer than the window; it is then as long as the
// axis.
std::vector<int64_t> window_begins(int64_t length, int size, int stride);

// Windows [B,h,w,C] of the image -> logits f32 [B,h,w,classes].
using WindowLogits = std::function<Tensor(const Tensor& windows)>;
// Logits f32 [1,n,W,classes] of the rows first..first + n.
using OnRows = std::function<void(int64_t first, const Tensor& rows)>;

// The mean over all windows that hold a pixel of their logits there: sums in f32 in the order of the windows (rows from
// the top, each from the left), divided by their number. image: [1,H,W,C]. Rows come once each from the top as soon as
// no further window holds them, so that beside the network's own memory for one batch no more is needed than the logits
// of a band as high as a window. Throws ArgumentError for a window, stride or batch that cannot be.
void slide(const Tensor& image, const SlidingWindow& window, const WindowLogits& logits, const OnRows& on_rows);

}  // namespace segrt::train
