// The image of a convolution as the matrix that implicit GEMM multiplies: a row a pixel of the other image, a column a
// (tap, channel). Nothing of it is stored; elements are found by index arithmetic when a tile is loaded.
#pragma once

#include <algorithm>

#include "kernels/conv.h"
#include "kernels/cuda/conv_taps.h"
#include "kernels/cuda/pipelined_tile.cuh"

namespace segrt::kernels::cuda {

// Along one axis: patch r reads with tap t the position r * stride + offset + t * step of `extent`.
struct PatchAxis {
  int patches, extent;
  int stride, offset, step;

  // One more than the last position where a patch starts or a pixel is.
  int64_t end() const { return std::max(int64_t{extent}, (patches - int64_t{1}) * stride + offset + 1); }
};

// Patch (n, r, s) is row (n * h.patches + r) * w.patches + s, tap (i, j) of channel c is column (i * taps_w + j) *
// channels + c.
struct PatchGeometry {
  PatchAxis h, w;
  int channels;        // of one group
  int image_channels;  // of all groups: the distance of pixels in memory
  int rows, columns;   // of the matrix
  int taps_w;
  bool plain;  // 1x1, stride 1, no padding: row and column are the pixel's and the channel's number
  Divisor by_plane, by_width, by_channels, by_taps_w;

  PatchGeometry() = default;
  PatchGeometry(const PatchAxis& axis_h, const PatchAxis& axis_w, int batch, int group_channels, int groups)
      : h(axis_h),
        w(axis_w),
        channels(group_channels),
        image_channels(group_channels * groups),
        rows(narrow("conv2d", "pixels", int64_t{batch} * h.patches * w.patches)),
        by_plane(h.patches * w.patches),
        by_width(w.patches),
        by_channels(group_channels) {
    // Pixels are counted in 32 bits and only then multiplied by channels: 64-bit products are three instructions each.
    narrow("conv2d", "pixels and padding", (batch - int64_t{1}) * h.extent * w.extent + h.end() * w.end());
    set_taps(0, 0);
  }
  SEGRT_HOST_DEVICE void set_taps(int count_h, int count_w) {
    taps_w = count_w;
    by_taps_w = Divisor(count_w);
    columns = count_h * count_w * channels;
    const auto in_place = [](const PatchAxis& a) { return a.stride == 1 && a.offset == 0 && a.patches == a.extent; };
    plain = count_h == 1 && count_w == 1 && in_place(h) && in_place(w);
  }
};

// kOrder says which index a tile keeps together: `depth` where columns are the depth of the product (forward, input
// gradient), `rows` where they are its rows and pixels its depth (weight gradient). Columns run through memory either
// way.
template <typename T, Contiguous kOrder>
struct PatchSource {
  struct Pixel {
    int h, w;        // where tap (0, 0) reads
    int64_t origin;  // offset of that pixel, possibly outside the image
  };
  struct Tap {
    int h, w, column;
    int64_t offset;  // from a patch's origin, channel included
  };
  static constexpr bool kPixelRows = kOrder == Contiguous::depth;
  using Row = std::conditional_t<kPixelRows, Pixel, Tap>;
  using Depth = std::conditional_t<kPixelRows, Tap, Pixel>;

  const T* image;  // [N,h.extent,w.extent,image_channels] at the group's first channel
  PatchGeometry g;
  bool vectors;  // image aligned to 16 bytes, channels and image_channels multiples of kVec

  SEGRT_DEVICE Row row(int index) const {
    if constexpr (kPixelRows)
      return pixel(index);
    else
      return tap(index);
  }
  SEGRT_DEVICE Depth depth(int index) const {
    if constexpr (kPixelRows)
      return tap(index);
    else
      return pixel(index);
  }
  SEGRT_DEVICE Vec<T, kVec<T>> load(const Row& r, const Depth& d) const {
    if constexpr (kPixelRows)
      return read(r, d);
    else
      return read(d, r);
  }
  // Where `vectors` holds.
  SEGRT_DEVICE Found<T> find(const Row& r, const Depth& d) const {
    const bool exists = inside(r, d);
    return {image + (exists ? offset(r, d) : 0), exists};
  }

 private:
  // A row or column past the end lies outside of every image: reading it gives zero, like padding.
  static constexpr int kOutside = -(1 << 30);

  SEGRT_DEVICE Pixel pixel(int index) const {
    if (index >= g.rows) return {kOutside, kOutside, 0};
    if (g.plain) return {0, 0, int64_t{index} * g.image_channels};
    const int n = g.by_plane(index), in_plane = index - n * g.h.patches * g.w.patches;
    const int r = g.by_width(in_plane), s = in_plane - r * g.w.patches;
    const int h = r * g.h.stride + g.h.offset, w = s * g.w.stride + g.w.offset;
    return {h, w, int64_t{(n * g.h.extent + h) * g.w.extent + w} * g.image_channels};
  }
  SEGRT_DEVICE Tap tap(int column) const {
    if (column >= g.columns) return {kOutside, kOutside, column, 0};
    if (g.plain) return {0, 0, column, column};
    const int t = g.by_channels(column), c = column - t * g.channels;
    const int i = g.by_taps_w(t), j = t - i * g.taps_w;
    const int h = i * g.h.step, w = j * g.w.step;
    return {h, w, column, int64_t{h * g.w.extent + w} * g.image_channels + c};
  }
  SEGRT_DEVICE bool inside(const Pixel& p, const Tap& t) const {
    return static_cast<unsigned>(p.h + t.h) < static_cast<unsigned>(g.h.extent) &&
           static_cast<unsigned>(p.w + t.w) < static_cast<unsigned>(g.w.extent);
  }
  SEGRT_DEVICE bool inside(const Tap& t, const Pixel& p) const { return inside(p, t); }
  SEGRT_DEVICE static int64_t offset(const Pixel& p, const Tap& t) { return p.origin + t.offset; }
  SEGRT_DEVICE static int64_t offset(const Tap& t, const Pixel& p) { return p.origin + t.offset; }
  // kVec columns from t on. All are channels of one tap where vectors are possible; else each is looked up.
  SEGRT_DEVICE Vec<T, kVec<T>> read(const Pixel& p, const Tap& t) const {
    Vec<T, kVec<T>> values{};
    if (vectors) {
      if (inside(p, t)) values = load_vec<T, kVec<T>>(image + p.origin + t.offset);
      return values;
    }
#pragma unroll
    for (int v = 0; v < kVec<T>; ++v) {
      const Tap own = tap(t.column + v);
      if (inside(p, own)) values[v] = image[p.origin + own.offset];
    }
    return values;
  }
};

// Whether every group's slice of a tensor [..., channels * groups] can be moved in 16-byte vectors.
inline bool moves_in_vectors(const Tensor& t, int64_t group_channels) {
  return is_aligned(t.raw()) && group_channels * static_cast<int64_t>(size_of(t.dtype())) % 16 == 0;
}

// The axes of a convolution as the kernels name them.
struct ConvAxes {
  ConvAxis h, w;
  ConvAxes(const ConvGeometry& g, const Shape& weight)
      : h{static_cast<int>(weight[1]), g.stride_h, g.pad_top, g.dilation_h},
        w{static_cast<int>(weight[2]), g.stride_w, g.pad_left, g.dilation_w} {}
};

// The patches that a convolution from x [N,H,W,C] to y [N,P,Q,O] reads.
inline PatchGeometry forward_patches(const Shape& x, const Shape& y, const Shape& weight, const ConvGeometry& g) {
  const ConvAxes axes(g, weight);
  const auto axis = [](const ConvAxis& a, int64_t patches, int64_t extent) {
    return PatchAxis{static_cast<int>(patches), static_cast<int>(extent), a.stride, -a.pad, a.dilation};
  };
  PatchGeometry patches(axis(axes.h, y[1], x[1]), axis(axes.w, y[2], x[2]), static_cast<int>(x[0]),
                        static_cast<int>(weight[3]), g.groups);
  narrow("conv2d", "terms of a sum", weight[1] * weight[2] * weight[3]);
  patches.set_taps(axes.h.kernel, axes.w.kernel);
  return patches;
}

}  // namespace segrt::kernels::cuda
