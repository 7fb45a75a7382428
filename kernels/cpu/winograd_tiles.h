// How a 3x3, stride 1 convolution falls into Winograd tiles. A dilated convolution is dilation_h x dilation_w separate
// ones over every dilation-th row and column; a tile lies in one of them.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/conv.h"
#include "kernels/cpu/winograd_transform.h"

namespace segrt::kernels::cpu::winograd {

struct Tiling {
  int64_t batch, height, width, channels;  // input
  int64_t rows, columns, outputs;          // output
  int64_t pad_top, pad_left;               // may be negative (input gradients)
  int64_t dilation_h, dilation_w;
  int64_t output_pixel;  // distance of output pixels in memory: `outputs`, or more in a slice of a wider map

  int64_t tiles_h() const { return (ceil_div(rows, dilation_h) + kOutput - 1) / kOutput; }
  int64_t tiles_w() const { return (ceil_div(columns, dilation_w) + kOutput - 1) / kOutput; }
  int64_t count() const { return batch * dilation_h * tiles_h() * dilation_w * tiles_w(); }
  // Share of the tiles' outputs that exist: below a half, the tiles cost more than they save.
  double use() const {
    return static_cast<double>(batch * rows * columns) / static_cast<double>(count() * kOutput * kOutput);
  }

 private:
  static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
};

Tiling tiling(const Shape& x, const Shape& y, const ConvGeometry& g);

// Where one tile reads and writes: offsets in elements, -1 outside of the image.
struct Tile {
  std::array<int64_t, kTile> input_row, input_column;      // offset of row and column in the input
  std::array<int64_t, kOutput> output_row, output_column;  // in the output

  int64_t input(int i, int j) const {
    const auto r = input_row[static_cast<size_t>(i)], c = input_column[static_cast<size_t>(j)];
    return r < 0 || c < 0 ? -1 : r + c;
  }
  int64_t output(int i, int j) const {
    const auto r = output_row[static_cast<size_t>(i)], c = output_column[static_cast<size_t>(j)];
    return r < 0 || c < 0 ? -1 : r + c;
  }
};

// Tile `index` of [0, t.count()): image by image, row phase, row, column phase, column.
Tile tile_at(const Tiling& t, int64_t index);

}  // namespace segrt::kernels::cpu::winograd
