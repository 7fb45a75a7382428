// How operators describe themselves to Device::op_observer.
#pragma once

#include "core/op_event.h"
#include "kernels/conv.h"
#include "kernels/pool.h"
#include "kernels/resize.h"

namespace segrt::autograd {

// stride, pad (top, left, bottom, right), dilation, groups.
inline std::map<std::string, std::vector<double>> attributes_of(const kernels::ConvGeometry& g) {
  const auto list = [](auto... v) { return std::vector<double>{static_cast<double>(v)...}; };
  return {{"stride", list(g.stride_h, g.stride_w)},
          {"pad", list(g.pad_top, g.pad_left, g.pad_bottom, g.pad_right)},
          {"dilation", list(g.dilation_h, g.dilation_w)},
          {"groups", list(g.groups)}};
}

// kernel, stride, pad (top, left, bottom, right), dilation, ceil_mode, count_include_pad.
inline std::map<std::string, std::vector<double>> attributes_of(const kernels::PoolGeometry& g) {
  const auto list = [](auto... v) { return std::vector<double>{static_cast<double>(v)...}; };
  return {{"kernel", list(g.kernel_h, g.kernel_w)},
          {"stride", list(g.stride_h, g.stride_w)},
          {"pad", list(g.pad_top, g.pad_left, g.pad_bottom, g.pad_right)},
          {"dilation", list(g.dilation_h, g.dilation_w)},
          {"ceil_mode", list(g.ceil_mode)},
          {"count_include_pad", list(g.count_include_pad)}};
}

// mode, coordinates, rounding (numbers of the enumerations), scale (0: the sizes' ratio).
inline std::map<std::string, std::vector<double>> attributes_of(const kernels::ResizeOptions& o) {
  return {{"mode", {static_cast<double>(o.mode)}},
          {"coordinates", {static_cast<double>(o.coordinates)}},
          {"rounding", {static_cast<double>(o.rounding)}},
          {"scale", {o.scale_h, o.scale_w}}};
}

}  // namespace segrt::autograd
