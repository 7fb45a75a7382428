#include "kernels/cpu/winograd_tiles.h"

namespace segrt::kernels::cpu::winograd {
namespace {
// start, start + step, ...: each times `stride` plus `base`, or -1 outside [0, extent).
template <size_t N>
std::array<int64_t, N> offsets(int64_t start, int64_t step, int64_t extent, int64_t stride, int64_t base) {
  std::array<int64_t, N> result;
  for (size_t i = 0; i < N; ++i) {
    const int64_t position = start + static_cast<int64_t>(i) * step;
    result[i] = position < 0 || position >= extent ? -1 : base + position * stride;
  }
  return result;
}
}  // namespace

Tiling tiling(const Shape& x, const Shape& y, const ConvGeometry& g) {
  return {x[0], x[1], x[2], x[3], y[1], y[2], y[3], g.pad_top, g.pad_left, g.dilation_h, g.dilation_w, y[3]};
}

Tile tile_at(const Tiling& t, int64_t index) {
  const int64_t across = t.tiles_w(), down = t.tiles_h();
  const int64_t tile_w = index % across, phase_w = index / across % t.dilation_w;
  const int64_t above = index / (across * t.dilation_w);
  const int64_t tile_h = above % down, phase_h = above / down % t.dilation_h, n = above / (down * t.dilation_h);
  const int64_t p = phase_h + t.dilation_h * kOutput * tile_h, q = phase_w + t.dilation_w * kOutput * tile_w;
  return {
      offsets<kTile>(p - t.pad_top, t.dilation_h, t.height, t.width * t.channels, n * t.height * t.width * t.channels),
      offsets<kTile>(q - t.pad_left, t.dilation_w, t.width, t.channels, 0),
      offsets<kOutput>(p, t.dilation_h, t.rows, t.columns * t.output_pixel, n * t.rows * t.columns * t.output_pixel),
      offsets<kOutput>(q, t.dilation_w, t.columns, t.output_pixel, 0)};
}

}  // namespace segrt::kernels::cpu::winograd
