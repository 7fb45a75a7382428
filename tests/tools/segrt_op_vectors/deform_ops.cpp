#include <fmt/format.h>

#include "autograd/deform.h"
#include "tests/tools/segrt_op_vectors/operators.h"
#include "tests/tools/segrt_op_vectors/window.h"

namespace segrt::op_vectors {

// ONNX orders inputs X, W, offset, B, mask; offsets and masks as the runtime's, with their channels in front.
Outputs run_deform_conv(const Case& c) {
  const Tensor x = c.float_input(0), w = c.float_input(1), offset = c.float_input(2);
  if (x.rank() < 3 || w.rank() != x.rank() || offset.rank() != x.rank())
    throw Malformed(fmt::format("expected X [N,C,D...], W and offset of the same rank, got {}, {} and {}",
                                to_string(x.shape()), to_string(w.shape()), to_string(offset.shape())));
  if (x.rank() != 4)
    throw Unsupported(fmt::format("{}-d: the runtime has deformable convolutions in 2-d", x.rank() - 2));
  const Dims kernel{w.dim(2), w.dim(3)};
  if (c.attributes().integers("kernel_shape", kernel) != kernel)
    throw Malformed(fmt::format("attribute kernel_shape: differs from W {}", to_string(w.shape())));
  const std::vector<Window> windows = read_windows(c, kernel);
  const Window &h = windows[0], &v = windows[1];
  if (h.pad_begin < 0 || h.pad_end < 0 || v.pad_begin < 0 || v.pad_end < 0) throw Unsupported("negative padding");
  const autograd::DeformConvOptions o{
      {h.kernel, v.kernel, h.stride, v.stride, h.pad_begin, v.pad_begin, h.pad_end, v.pad_end, h.dilation, v.dilation,
       as_int(c.attributes().integer("offset_group", 1), "offset_group")},
      as_int(c.attributes().integer("group", 1), "group")};
  const Tensor bias = c.has_input(3) ? as_dtype(c.float_input(3), parameter_dtype(x)) : Tensor();
  const Tensor mask = c.has_input(4) ? channels_last(c.float_input(4)) : Tensor();
  const Var y = autograd::deform_conv2d(channels_last(x), channels_last(offset), mask, channels_last(w), bias, o);
  return {channels_first(y.value())};
}

}  // namespace segrt::op_vectors
