// Padding, rotation, cropping and flipping of 8-bit images, each for explicit parameters.
// One axis at a time these are tables of source indices; a table composes padding, crop, flip and nearest resize.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/image.h"
#include "data/resample.h"

namespace segrt::data {

// Source index of each of before + length + after values of a mirrored axis. The start mirrors without repeating the
// edge (..., 2, 1 | 0, 1, ...), the end with it (..., n-1 | n-1, n-2, ...), as DRN's published padding does. A pad
// above length - 1 takes passes, each of at most one less than what there is by then. A single value repeats. Throws
// ArgumentError for length < 1 or a negative pad.
std::vector<int> reflect_indices(int length, int before, int after);

// Source index 0..length-1 of each value, -1 in the padding.
std::vector<int> constant_pad_indices(int length, int before, int after);

// y[i][j] = x[rows[i]][columns[j]], or `pad` in every channel where an index is -1.
Image gather(const Image& x, std::span<const int> rows, std::span<const int> columns, uint8_t pad = 0);

struct Border {
  int top = 0, bottom = 0, left = 0, right = 0;
};
Image pad_reflection(const Image& x, const Border& border);
Image pad_constant(const Image& x, const Border& border, uint8_t value);

Image flip_horizontal(const Image& x);

// What surrounds an image that is smaller than its crop: its mirror image or a constant.
struct Padding {
  bool reflect = true;
  uint8_t value = 0;
};
// Pads each side that is shorter than the crop, (crop - n) / 2 before and the rest after, then cuts the height x width
// window whose corner is (y, x) of the padded image. Throws ArgumentError when it does not lie inside.
Image crop(const Image& image, int height, int width, int y, int x, const Padding& padding);

// The index table of one axis of crop().
std::vector<int> crop_indices(int length, int size, int begin, const Padding& padding);

// 0, 1, ..., length - 1: an axis that stays as it is.
std::vector<int> identity_indices(int length);
// Smallest window that holds all pixels that two tables read; one pixel at the start of an axis that is all padding.
Window window_of(std::span<const int> rows, std::span<const int> columns);
// The table for an image of which only the part from `origin` on is there. Padding stays padding.
void shift_indices(std::span<int> axis, int origin);
// axis[i] := source[axis[i]]: the table of a step that follows another. Padding stays padding.
void compose_indices(std::span<int> axis, std::span<const int> source);

// Rotation counter-clockwise about the image centre, same size; what turns in from outside is the image's mirror
// (bilinear sampling, truncated to 8 bits) or, for labels, `fill` (nearest, 16.16 fixed point). It is done on a canvas
// padded by one height above and below and one width left and right; beyond that is 0. Angle 0 copies.
// Equal to Pillow's rotate bit for bit. Returns the part `window` of the result. Throws ArgumentError when a canvas
// side would exceed 32767.
Image rotate_image(const Image& image, double angle_degrees, const Window& window);
Image rotate_image(const Image& image, double angle_degrees);
Image rotate_label(const Image& label, double angle_degrees, uint8_t fill, const Window& window);
Image rotate_label(const Image& label, double angle_degrees, uint8_t fill = 255);

}  // namespace segrt::data
