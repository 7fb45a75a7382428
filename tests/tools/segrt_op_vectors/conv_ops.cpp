#include <fmt/format.h>

#include "autograd/conv.h"
#include "kernels/conv.h"
#include "tests/tools/segrt_op_vectors/operators.h"
#include "tests/tools/segrt_op_vectors/window.h"

namespace segrt::op_vectors {
namespace {

// A case of one or two spatial axes as the runtime sees it: two axes, the first of extent 1 if the case has one only.
struct Problem {
  Tensor x, w, bias;  // [N,H,W,C], [O,kh,kw,C/groups] (transposed: [C,kh,kw,O/groups]), [O] or undefined
  Window rows, columns;
  int groups = 1;
  bool lifted = false;
};

Tensor lift(const Tensor& t) { return t.rank() == 4 ? t : t.reshape({t.dim(0), 1, t.dim(1), t.dim(2)}); }

Tensor to_case(const Tensor& y, const Problem& p) {
  return channels_first(p.lifted ? y.reshape({y.dim(0), y.dim(2), y.dim(3)}) : y);
}

Dims spatial(const Tensor& t) {
  const Dims dims = dims_of(t);
  return {dims.begin() + 2, dims.end()};
}

Problem read_problem(const Case& c) {
  const Tensor x = c.float_input(0), w = c.float_input(1);
  if (x.rank() < 3 || w.rank() != x.rank())
    throw Malformed(fmt::format("expected X [N,C,D...] and W of the same rank, got {} and {}", to_string(x.shape()),
                                to_string(w.shape())));
  if (x.rank() > 4) throw Unsupported(fmt::format("{}-d: the runtime has 1-d and 2-d convolutions", x.rank() - 2));
  const Dims kernel = spatial(w);
  if (c.attributes().integers("kernel_shape", kernel) != kernel)
    throw Malformed(fmt::format("attribute kernel_shape: differs from W {}", to_string(w.shape())));
  std::vector<Window> windows = read_windows(c, kernel);
  Problem p;
  p.lifted = x.rank() == 3;
  if (p.lifted) windows.insert(windows.begin(), Window{});
  p.rows = windows[0];
  p.columns = windows[1];
  p.x = lift(channels_last(x));
  p.w = lift(channels_last(w));
  if (c.has_input(2)) p.bias = as_dtype(c.float_input(2), parameter_dtype(x));
  p.groups = as_int(c.attributes().integer("group", 1), "group");
  if (p.groups < 1) throw Malformed(fmt::format("attribute group: expected at least 1, got {}", p.groups));
  return p;
}

kernels::ConvGeometry geometry(const Problem& p) {
  const Window &h = p.rows, &w = p.columns;
  return {h.stride, w.stride, h.pad_begin, w.pad_begin, h.pad_end, w.pad_end, h.dilation, w.dilation, p.groups};
}

// What a transposed convolution pads and adds along one axis of the case.
struct TransposedAxis {
  int64_t begin = 0, end = 0, output_padding = 0;
};

// ONNX: output_shape, or auto_pad's in * stride, decides the total padding stride * (in - 1) + output_padding +
// (kernel - 1) * dilation + 1 - out; its halves round towards the end for SAME_UPPER, towards the beginning otherwise.
TransposedAxis transposed_axis(const Window& w, int64_t in, int64_t output_padding, int64_t out,
                               const std::string& auto_pad) {
  if (out < 0 && auto_pad.starts_with("SAME")) out = in * w.stride;
  if (out < 0) {
    const bool valid = auto_pad == "VALID";
    return {valid ? 0 : w.pad_begin, valid ? 0 : w.pad_end, output_padding};
  }
  const int64_t total = w.stride * (in - 1) + output_padding + int64_t{w.kernel - 1} * w.dilation + 1 - out;
  const int64_t half = total >= 0 ? total / 2 : -((1 - total) / 2);  // floor
  if (auto_pad == "SAME_UPPER") return {half, total - half, output_padding};
  return {total - half, half, output_padding};
}

// The runtime takes paddings >= 0 and an output padding below the stride. Anything else is said with zeros around x:
// each slice adds `stride` positions to the output, and the padding cuts away what is too much.
void apply_transposed_axis(TransposedAxis a, int axis, Window& w, int& output_padding, Tensor& x) {
  const int64_t s = w.stride;
  if (a.end < 0) {  // padding of -1 is one position more
    a.output_padding -= a.end;
    a.end = 0;
  }
  const int64_t before = a.begin < 0 ? (s - 1 - a.begin) / s : 0;
  a.begin += before * s;
  int64_t after = 0;
  if (a.output_padding >= s) {
    after = (a.output_padding + s - 1) / s;
    a.end += after * s - a.output_padding;
    a.output_padding = 0;
  }
  if (before + after > 0) x = zero_extended(x, axis, before, after);
  w.pad_begin = as_int(a.begin, "pads");
  w.pad_end = as_int(a.end, "pads");
  output_padding = as_int(a.output_padding, "output_padding");
}

}  // namespace

Outputs run_conv(const Case& c) {
  Problem p = read_problem(c);
  std::vector<Window> windows{p.rows, p.columns};
  resolve_auto_pad(c, {p.x.dim(1), p.x.dim(2)}, windows);
  p.rows = windows[0];
  p.columns = windows[1];
  const kernels::ConvGeometry g = geometry(p);
  Tensor y = unwritten(kernels::conv2d_output_shape(p.x.shape(), p.w.shape(), g), p.x.dtype(), p.x.device());
  kernels::conv2d_forward(p.x, p.w, {.bias = p.bias.defined() ? &p.bias : nullptr}, g, y);
  return {to_case(y, p)};
}

Outputs run_conv_transpose(const Case& c) {
  Problem p = read_problem(c);
  const size_t axes = p.lifted ? 1 : 2;
  Dims output_padding = c.attributes().integers("output_padding", Dims(axes, 0));
  Dims out = c.attributes().integers("output_shape", Dims(axes, -1));
  if (out.size() == axes + 2) out.erase(out.begin(), out.begin() + 2);  // some writers give N and C as well
  if (output_padding.size() != axes || out.size() != axes)
    throw Malformed(fmt::format("output_padding, output_shape: expected {} numbers", axes));
  if (p.lifted) {
    output_padding.insert(output_padding.begin(), 0);
    out.insert(out.begin(), 1);
  }
  const std::string auto_pad = c.attributes().text("auto_pad", "NOTSET");
  autograd::TransposeOptions o;
  const int64_t height = p.x.dim(1), width = p.x.dim(2);
  apply_transposed_axis(transposed_axis(p.rows, height, output_padding[0], out[0], auto_pad), 1, p.rows,
                        o.output_padding_h, p.x);
  apply_transposed_axis(transposed_axis(p.columns, width, output_padding[1], out[1], auto_pad), 2, p.columns,
                        o.output_padding_w, p.x);
  o.geometry = geometry(p);
  return {to_case(autograd::conv_transpose2d(p.x, p.w, p.bias, o).value(), p)};
}

}  // namespace segrt::op_vectors
