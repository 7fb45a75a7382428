#include "kernels/cpu/winograd.h"

#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/packed_weights.h"
#include "kernels/cpu/winograd_filter.h"
#include "kernels/cpu/winograd_multiply.h"
#include "kernels/cpu/winograd_tiles.h"

namespace segrt::kernels::cpu::winograd {
namespace {
constexpr int kWidth = kLanes<float>;
// Panels of tiles that a thread transforms and multiplies at a time. Few keep the tiles in the second-level cache; but
// the more filters there are, the farther they come from, and the more tiles should reuse them.
int64_t block_panels(const Tiling& t) { return 2 + t.channels * t.outputs / (int64_t{1} << 15); }

struct Convolution {
  Tiling t;
  const float *x, *u;  // u: packed filters
  const float* bias;
  const float* residual;
  bool relu;
  float* y;
};

// From one tile to the next in m: a line more than the data, because at a power of two of outputs the rows of a panel
// would share one set of the first-level cache, where pieces of their sums are added.
int64_t tile_stride(const Tiling& t) { return (t.outputs / kWidth * kPoints + 1) * kWidth; }

// One block's working memory: v [36][panels][C/kWidth][kPanelRows][kWidth], m [tiles][O/kWidth][36][kWidth].
struct Block {
  int64_t first, tiles, panels;
  int64_t point_stride;  // of v; a few lines more than the data, so that the 36 points do not share cache sets
  float *v, *m;
  const float* zeros;  // C zeros, read in place of what lies outside of the image
};

// Where a tile's 36 pixels start.
struct Pixels {
  const float* at[kTile][kTile];

  Pixels(const Convolution& c, const Tile& tile, const float* zeros) {
    for (int i = 0; i < kTile; ++i)
      for (int j = 0; j < kTile; ++j) {
        const int64_t offset = tile.input(i, j);
        at[i][j] = offset < 0 ? zeros : c.x + offset;
      }
  }
};

void transform_inputs(const Convolution& c, const Block& b) {
  const int64_t channels = c.t.channels;
  Pixels next(c, tile_at(c.t, b.first), b.zeros);
  for (int64_t k = 0; k < b.tiles; ++k) {
    const Pixels pixels = next;
    if (k + 1 < b.tiles) next = Pixels(c, tile_at(c.t, b.first + k + 1), b.zeros);
    float* to = b.v + (k / kPanelRows * channels * kPanelRows) + k % kPanelRows * kWidth;
    for (int64_t ch = 0; ch < channels; ch += kWidth, to += kPanelRows * kWidth) {
      // Too many short streams for the hardware to foresee. Two columns of the next tile are columns of this one.
      for (int i = 0; i < kTile; ++i)
        for (int j = kTile - kOutput; j < kTile; ++j) __builtin_prefetch(next.at[i][j] + ch);
      transform_square<kTile, kTile>(
          input_transform, [&](int i, int j) { return load(pixels.at[i][j] + ch); },
          [&](int i, int j, const Vector& v) { store(to + (i * kTile + j) * b.point_stride, v); });
    }
  }
}

// Point by point, so that the tiles at one point stay in the second-level cache for all filters.
void multiply_block(const Convolution& c, const Block& b) {
  const int64_t channels = c.t.channels, vectors = c.t.outputs / kWidth;
  const int64_t panel_size = channels * kPanelVectors * kWidth;
  for (int point = 0; point < kPoints; ++point) {
    const float* u = c.u + point * filter_point_stride(channels, c.t.outputs);
    for (int64_t s = 0; s < vectors; s += kPanelVectors, u += panel_size)
      for (int64_t panel = 0; panel < b.panels; ++panel) {
        const int64_t tile = panel * kPanelRows;
        multiply(static_cast<int>(std::min<int64_t>(kPanelRows, b.tiles - tile)),
                 {.v = b.v + point * b.point_stride + panel * channels * kPanelRows,
                  .u = u,
                  .next_u = u + panel_size + panel * panel_size / b.panels,
                  .next_size = panel_size / b.panels,
                  .m = b.m + tile * tile_stride(c.t) + (s * kPoints + point) * kWidth,
                  .channel_blocks = channels / kWidth,
                  .row_stride = tile_stride(c.t),
                  .vector_stride = kPoints * kWidth});
      }
  }
}

void transform_outputs(const Convolution& c, const Block& b) {
  const int64_t vectors = c.t.outputs / kWidth;
  const Vector zero{};
  for (int64_t k = 0; k < b.tiles; ++k) {
    const Tile tile = tile_at(c.t, b.first + k);
    for (int64_t s = 0; s < vectors; ++s) {
      const int64_t o = s * kWidth;
      const float* m = b.m + k * tile_stride(c.t) + s * kPoints * kWidth;
      const Vector bias = c.bias == nullptr ? zero : load(c.bias + o);
      transform_square<kTile, kOutput>(
          output_transform, [&](int i, int j) { return load(m + (i * kTile + j) * kWidth); },
          [&](int i, int j, const Vector& sum) {
            const int64_t offset = tile.output(i, j);
            if (offset < 0) return;
            Vector y = sum + bias;
            if (c.residual != nullptr) y += load(c.residual + offset + o);
            if (c.relu) y = y > zero ? y : zero;
            store(c.y + offset + o, y);
          });
    }
  }
}

void convolve(const Convolution& c, Device& device) {
  const int64_t tiles = c.t.count(), panels = (tiles + kPanelRows - 1) / kPanelRows;
  const int64_t per_block = block_panels(c.t);
  // Whole rounds of blocks, so that the threads end together.
  const int64_t rounds = (panels + per_block * threads() - 1) / (per_block * threads());
  const int64_t step = (panels + rounds * threads() - 1) / (rounds * threads());
  const int64_t point_stride = step * kPanelRows * c.t.channels + 5 * kWidth;
  const int64_t v_size = kPoints * point_stride, m_size = step * kPanelRows * tile_stride(c.t);
  const Tensor zeros = Tensor::zeros({c.t.channels}, DType::f32, device);
  parallel_for((panels + step - 1) / step, [&](int64_t i) {
    const Tensor memory = Tensor::empty({v_size + m_size}, DType::f32, device);
    const int64_t first = i * step * kPanelRows, count = std::min(step * kPanelRows, tiles - first);
    float* v = memory.data<float>();
    const Block b{
        first, count, (count + kPanelRows - 1) / kPanelRows, point_stride, v, v + v_size, zeros.data<float>()};
    transform_inputs(c, b);
    multiply_block(c, b);
    transform_outputs(c, b);
  });
}

// The input gradient is the correlation of dy with the flipped filters, from dy's frame to x's.
Tiling gradient_tiling(const Shape& dy, const Shape& dx, const ConvGeometry& g) {
  Tiling t = tiling(dy, dx, g);
  t.pad_top = 2 * g.dilation_h - g.pad_top;
  t.pad_left = 2 * g.dilation_w - g.pad_left;
  return t;
}

bool fits(const Shape& w, const ConvGeometry& g) {
#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
  constexpr int kPanelWidth = kPanelVectors * kWidth;
  return w[1] == kFilter && w[2] == kFilter && g.stride_h == 1 && g.stride_w == 1 && g.groups == 1 &&
         w[0] % kPanelWidth == 0 && w[3] % kPanelWidth == 0;
#else
  static_cast<void>(w), static_cast<void>(g);
  return false;  // oneDNN chooses its instructions at run time and beats this compiled for any x86-64
#endif
}
}  // namespace

bool pays(const Shape& x, const Shape& w, const Shape& y, const ConvGeometry& g) {
  return fits(w, g) && tiling(x, y, g).use() > 0.5;
}

bool pays_for_weight(const Shape& x, const Shape& w, const Shape& y, const ConvGeometry& g) { return pays(x, w, y, g); }

void conv2d_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g, Tensor& y) {
  winograd::conv2d_forward_slice(x, w, epilogue, g, y, 0);
}

void conv2d_forward_slice(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                          Tensor& y, int64_t channel) {
  const Tensor u = packed_filters(w, Direction::forward);
  Tiling t = tiling(x.shape(), {y.dim(0), y.dim(1), y.dim(2), w.dim(0)}, g);
  t.output_pixel = y.dim(3);
  convolve({t, x.data<float>(), static_cast<const float*>(u.raw()),
            epilogue.bias != nullptr ? epilogue.bias->data<float>() : nullptr,
            epilogue.residual != nullptr ? epilogue.residual->data<float>() : nullptr, epilogue.relu,
            y.data<float>() + channel},
           x.device());
}

void conv2d_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx) {
  const Tensor u = packed_filters(w, Direction::backward_input);
  convolve({gradient_tiling(dy.shape(), dx.shape(), g), dy.data<float>(), static_cast<const float*>(u.raw()), nullptr,
            nullptr, false, dx.data<float>()},
           dy.device());
}

}  // namespace segrt::kernels::cpu::winograd
