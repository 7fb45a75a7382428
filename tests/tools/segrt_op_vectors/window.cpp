#include "tests/tools/segrt_op_vectors/window.h"

#include <fmt/format.h>

#include <algorithm>

namespace segrt::op_vectors {
namespace {
Dims list(const Case& c, const char* name, size_t length, int64_t fallback, int64_t least) {
  const Dims values = c.attributes().integers(name, Dims(length, fallback));
  if (values.size() != length)
    throw Malformed(fmt::format("attribute {}: expected {} numbers, got {}", name, length, values.size()));
  for (const int64_t v : values)
    if (v < least) throw Malformed(fmt::format("attribute {}: expected at least {}, got {}", name, least, v));
  return values;
}
}  // namespace

std::vector<Window> read_windows(const Case& c, const Dims& kernel) {
  const size_t axes = kernel.size();
  const Dims strides = list(c, "strides", axes, 1, 1), dilations = list(c, "dilations", axes, 1, 1);
  const Dims pads = list(c, "pads", 2 * axes, 0, INT32_MIN);
  std::vector<Window> windows;
  for (size_t i = 0; i < axes; ++i)
    windows.push_back({.kernel = as_int(kernel[i], "kernel"),
                       .stride = as_int(strides[i], "strides"),
                       .dilation = as_int(dilations[i], "dilations"),
                       .pad_begin = as_int(pads[i], "pads"),
                       .pad_end = as_int(pads[axes + i], "pads")});
  return windows;
}

void resolve_auto_pad(const Case& c, const Dims& sizes, std::vector<Window>& windows) {
  const std::string mode = c.attributes().text("auto_pad", "NOTSET");
  if (mode == "NOTSET" || mode.empty()) return;
  if (mode != "VALID" && mode != "SAME_UPPER" && mode != "SAME_LOWER")
    throw Malformed(fmt::format("attribute auto_pad: unknown value {}", mode));
  for (size_t i = 0; i < windows.size(); ++i) {
    Window& w = windows[i];
    const int64_t out = (sizes[i] + w.stride - 1) / w.stride;
    const int64_t wanted = (out - 1) * w.stride + int64_t{w.kernel - 1} * w.dilation + 1 - sizes[i];
    const int total = mode == "VALID" ? 0 : as_int(std::max<int64_t>(wanted, 0), "auto_pad");
    w.pad_begin = mode == "SAME_LOWER" ? total - total / 2 : total / 2;
    w.pad_end = total - w.pad_begin;
  }
}

}  // namespace segrt::op_vectors
