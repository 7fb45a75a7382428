#include <fmt/format.h>

#include "kernels/pool.h"
#include "tests/tools/segrt_op_vectors/operators.h"
#include "tests/tools/segrt_op_vectors/window.h"

namespace segrt::op_vectors {
namespace {

struct Pooled {
  Tensor y, index;  // [N,P,Q,C]; index of max pooling only
};
using Pool2d = Pooled (*)(const Tensor& x, const kernels::PoolGeometry& g);

Pooled max_pool(const Tensor& x, const kernels::PoolGeometry& g) {
  const Shape shape = kernels::pool2d_output_shape(x.shape(), g);
  Pooled p{unwritten(shape, x.dtype(), x.device()), unwritten(shape, DType::i32, x.device())};
  kernels::max_pool2d_forward(x, g, p.y, p.index);
  return p;
}

Pooled average_pool(const Tensor& x, const kernels::PoolGeometry& g) {
  Pooled p{unwritten(kernels::pool2d_output_shape(x.shape(), g), x.dtype(), x.device()), {}};
  kernels::avg_pool2d_forward(x, g, p.y);
  return p;
}

kernels::PoolGeometry geometry(const Window& h, const Window& w, bool ceil_mode, bool count_include_pad) {
  return {.kernel_h = h.kernel,
          .kernel_w = w.kernel,
          .stride_h = h.stride,
          .stride_w = w.stride,
          .pad_top = h.pad_begin,
          .pad_left = w.pad_begin,
          .pad_bottom = h.pad_end,
          .pad_right = w.pad_end,
          .dilation_h = h.dilation,
          .dilation_w = w.dilation,
          .ceil_mode = ceil_mode,
          .count_include_pad = count_include_pad};
}

// Pools x [N,C,D...] with 2-d kernels. The last two axes are pooled together; a maximum and a mean over a box are those
// over its sides one after the other (the box's divisor is the product of its sides'), so any further axis D is pooled
// as the height of maps [before, D, 1, rest]. The index is that of the 2-d pass, undefined for more axes.
Pooled pool(const Case& c, const Tensor& x, Pool2d pool2d) {
  if (x.rank() < 3) throw Malformed(fmt::format("expected X [N,C,D...], got {}", to_string(x.shape())));
  if (!c.attributes().has("kernel_shape")) throw Malformed("attribute kernel_shape is missing");
  const bool ceil_mode = c.attributes().integer("ceil_mode", 0) != 0;
  const bool count_include_pad = c.attributes().integer("count_include_pad", 0) != 0;
  Dims dims = dims_of(channels_last(x));
  dims.erase(dims.begin());
  const int64_t channels = dims.back();
  dims.pop_back();  // the spatial extents
  std::vector<Window> windows = read_windows(c, c.attributes().integers("kernel_shape"));
  if (windows.size() != dims.size())
    throw Malformed(fmt::format("attribute kernel_shape: expected {} numbers, got {}", dims.size(), windows.size()));
  resolve_auto_pad(c, dims, windows);
  const bool lifted = dims.size() == 1;
  if (lifted) {
    dims.insert(dims.begin(), 1);
    windows.insert(windows.begin(), Window{});
  }
  const size_t last = dims.size() - 1;
  const Tensor maps = channels_last(x).reshape(
      {x.dim(0) * product({dims.begin(), dims.end() - 2}), dims[last - 1], dims[last], channels});
  Pooled p = pool2d(maps, geometry(windows[last - 1], windows[last], ceil_mode, count_include_pad));
  dims[last - 1] = p.y.dim(1);
  dims[last] = p.y.dim(2);
  for (size_t a = last - 1; a-- > 0;) {
    const auto at = dims.begin() + static_cast<std::ptrdiff_t>(a);
    const Shape view{x.dim(0) * product({dims.begin(), at}), *at, 1, product({at + 1, dims.end()}) * channels};
    p = {pool2d(p.y.reshape(view), geometry(windows[a], {}, ceil_mode, count_include_pad)).y, {}};
    *at = p.y.dim(1);
  }
  if (lifted) dims.erase(dims.begin());
  dims.insert(dims.begin(), x.dim(0));
  dims.push_back(channels);
  const Shape shape = shape_of(dims);
  return {channels_first(p.y.reshape(shape)), p.index.defined() ? channels_first(p.index.reshape(shape)) : Tensor{}};
}

// The runtime's index h*W + w within a map as ONNX's index within the whole [N,C,H,W] (storage_order 1: w*H + h).
Tensor whole_index(const Tensor& index, const Tensor& x, bool column_major) {
  const std::vector<int32_t> within = index.to_vector<int32_t>();
  const int64_t width = x.dim(-1), height = x.rank() == 4 ? x.dim(2) : 1;
  const int64_t outputs = index.numel() / (index.dim(0) * index.dim(1));
  std::vector<int64_t> whole;
  for (size_t i = 0; i < within.size(); ++i) {
    const int64_t h = within[i] / width, w = within[i] % width, map = static_cast<int64_t>(i) / outputs;
    whole.push_back(map * height * width + (column_major ? w * height + h : h * width + w));
  }
  return Tensor::from<int64_t>(index.shape(), whole, index.device());
}

// x [N,C,D...] as maps [N, pixels, 1, C].
Tensor pixels(const Tensor& x) {
  if (x.rank() < 2) throw Malformed(fmt::format("expected X [N,C,D...], got {}", to_string(x.shape())));
  const int64_t count = product(x.shape().dims().subspan(2));
  return channels_last(x).reshape({x.dim(0), count, 1, x.dim(1)});
}

Tensor one_each(const Tensor& y, const Tensor& x) {
  Dims dims(static_cast<size_t>(x.rank()), 1);
  dims[0] = x.dim(0);
  dims[1] = x.dim(1);
  return y.reshape(shape_of(dims));
}

}  // namespace

Outputs run_max_pool(const Case& c) {
  const Tensor x = c.float_input(0);
  const Pooled p = pool(c, x, max_pool);
  if (!c.wants_output(1)) return {p.y};
  if (!p.index.defined()) throw Unsupported(fmt::format("indices of {}-d max pooling", x.rank() - 2));
  if (p.index.numel() == 0) return {p.y, Tensor::empty(p.index.shape(), DType::i64, x.device())};
  return {p.y, whole_index(p.index, x, c.attributes().integer("storage_order", 0) != 0)};
}

Outputs run_average_pool(const Case& c) { return {pool(c, c.float_input(0), average_pool).y}; }

Outputs run_global_max_pool(const Case& c) {
  const Tensor x = c.float_input(0), maps = pixels(x);
  return {one_each(max_pool(maps, {.kernel_h = as_int(maps.dim(1), "pixels"), .kernel_w = 1}).y, x)};
}

Outputs run_global_average_pool(const Case& c) {
  const Tensor x = c.float_input(0), maps = pixels(x);
  Tensor y = unwritten({x.dim(0), 1, 1, x.dim(1)}, x.dtype(), x.device());
  kernels::global_avg_pool_forward(maps, y);
  return {one_each(y, x)};
}

}  // namespace segrt::op_vectors
