// The convolutions that the tests of every device run: small, and awkward in each way that a kernel may get wrong.
#pragma once

#include <string>
#include <vector>

#include "kernels/conv.h"

namespace segrt::test {

struct ConvCase {
  std::string name;
  Shape x, w;  // [N,H,W,C], [O,kh,kw,C/groups]
  kernels::ConvGeometry g;
};

inline std::vector<ConvCase> conv_cases() {
  using G = kernels::ConvGeometry;
  return {
      {"one of everything", {1, 1, 1, 1}, {1, 1, 1, 1}, {}},
      {"1x1", {2, 5, 7, 19}, {33, 1, 1, 19}, {}},
      {"1x1, stride 2, even and odd", {1, 6, 9, 12}, {20, 1, 1, 12}, G::square({.stride = 2})},
      {"3x3", {1, 6, 5, 8}, {16, 3, 3, 8}, G::square({.padding = 1})},
      {"3x3, 17 to 33 channels", {2, 7, 9, 17}, {33, 3, 3, 17}, G::square({.padding = 1})},
      {"3x3, 32 to 64 channels", {2, 7, 9, 32}, {64, 3, 3, 32}, G::square({.padding = 1})},
      {"3x3, 64 to 32 channels, no padding", {1, 10, 6, 64}, {32, 3, 3, 64}, {}},
      {"3x3, 32 channels, dilation 2", {1, 13, 15, 32}, {32, 3, 3, 32}, G::square({.padding = 2, .dilation = 2})},
      {"3x3, 96 to 32 channels, dilation 3x1, asymmetric padding",
       {1, 11, 5, 96},
       {32, 3, 3, 96},
       {.pad_top = 5, .pad_left = 0, .pad_bottom = 2, .pad_right = 3, .dilation_h = 3}},
      {"3x3 without padding", {1, 5, 8, 4}, {7, 3, 3, 4}, {}},
      {"3x3, stride 2, even", {1, 8, 6, 16}, {24, 3, 3, 16}, G::square({.stride = 2, .padding = 1})},
      {"3x3, stride 2, odd", {2, 7, 9, 5}, {6, 3, 3, 5}, G::square({.stride = 2, .padding = 1})},
      {"3x3, stride 3", {1, 10, 11, 3}, {9, 3, 3, 3}, G::square({.stride = 3, .padding = 1})},
      {"3x3, dilation 2", {1, 9, 8, 16}, {16, 3, 3, 16}, G::square({.padding = 2, .dilation = 2})},
      {"3x3, dilation 4", {1, 11, 13, 10}, {12, 3, 3, 10}, G::square({.padding = 4, .dilation = 4})},
      {"dilation beyond the input", {1, 4, 5, 6}, {5, 3, 3, 6}, G::square({.padding = 8, .dilation = 8})},
      {"dilation 2, stride 2", {1, 9, 10, 4}, {8, 3, 3, 4}, G::square({.stride = 2, .padding = 2, .dilation = 2})},
      {"7x7 of 3 channels", {1, 9, 12, 3}, {16, 7, 7, 3}, G::square({.padding = 3})},
      {"7x7, stride 2", {1, 13, 10, 3}, {18, 7, 7, 3}, G::square({.stride = 2, .padding = 3})},
      {"3x1 with dilation 1x3", {1, 7, 11, 8}, {8, 3, 1, 8}, {1, 1, 1, 0, 1, 0, 1, 3}},
      {"1x3, strides 1x2", {1, 4, 11, 5}, {8, 1, 3, 5}, {1, 2, 0, 1, 0, 1}},
      {"asymmetric padding",
       {1, 6, 7, 9},
       {11, 3, 3, 9},
       {.pad_top = 0, .pad_left = 2, .pad_bottom = 3, .pad_right = 1}},
      {"asymmetric padding, stride 2",
       {1, 6, 8, 4},
       {8, 3, 3, 4},
       {.stride_h = 2, .stride_w = 2, .pad_top = 0, .pad_left = 0, .pad_bottom = 1, .pad_right = 1}},
      {"padding wider than the kernel", {1, 3, 2, 4}, {6, 1, 1, 4}, G::square({.padding = 2})},
      {"2x2, stride 2", {1, 6, 8, 32}, {16, 2, 2, 32}, G::square({.stride = 2})},
      {"2 groups", {1, 6, 5, 12}, {10, 3, 3, 6}, G::square({.padding = 1, .groups = 2})},
      {"4 groups of 16", {1, 5, 6, 64}, {64, 3, 3, 16}, G::square({.padding = 1, .groups = 4})},
      {"depthwise 3x3", {2, 6, 7, 19}, {19, 3, 3, 1}, G::square({.padding = 1, .groups = 19})},
      {"depthwise 3x3, 48 channels", {1, 9, 10, 48}, {48, 3, 3, 1}, G::square({.padding = 1, .groups = 48})},
      {"depthwise 3x3, stride 2", {1, 9, 8, 33}, {33, 3, 3, 1}, G::square({.stride = 2, .padding = 1, .groups = 33})},
      {"depthwise 3x3, dilation 2",
       {1, 9, 8, 16},
       {16, 3, 3, 1},
       G::square({.padding = 2, .dilation = 2, .groups = 16})},
      {"depthwise 5x5", {1, 8, 11, 20}, {20, 5, 5, 1}, G::square({.padding = 2, .groups = 20})},
      {"depthwise 5x5, stride 2", {1, 8, 11, 32}, {32, 5, 5, 1}, G::square({.stride = 2, .padding = 2, .groups = 32})},
      {"depthwise 3x1, dilation 5x1", {1, 12, 5, 8}, {8, 3, 1, 1}, {1, 1, 5, 0, 5, 0, 5, 1, 8}},
      {"depthwise, two outputs a channel", {1, 6, 7, 8}, {16, 3, 3, 1}, G::square({.padding = 1, .groups = 8})},
      {"one group a channel, 5 outputs each", {1, 5, 5, 3}, {15, 3, 3, 1}, G::square({.padding = 1, .groups = 3})},
      {"depthwise 16x16, stride 8",
       {1, 24, 32, 19},
       {19, 16, 16, 1},
       G::square({.stride = 8, .padding = 4, .groups = 19})},
      {"4x4, stride 2, odd", {1, 9, 11, 6}, {4, 4, 4, 6}, G::square({.stride = 2, .padding = 1})},
  };
}

}  // namespace segrt::test
