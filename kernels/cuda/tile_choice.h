// Which tile of pipelined_tile.cuh a matrix product gets.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>

namespace segrt::kernels::cuda {

struct TileShape {
  int rows, columns;
  bool operator==(const TileShape&) const = default;
};

inline constexpr TileShape kTileShapes[] = {{128, 128}, {128, 64}, {64, 64}, {128, 32}};

// One tile for every product, kept with the device: device.state<TilePreference>().tile = {64, 64}. For tests, and for
// measuring what choose_tile estimates.
struct TilePreference {
  std::optional<TileShape> tile;
};

// `count` independent matrix products of rows x columns outputs. `split`: their depth may be cut into parts, so that
// few tiles fill the GPU as well as many.
struct MatrixProducts {
  int64_t rows, columns, count;
  bool split = false;
};

// The estimate of a tile's time is its area over how well a warp's patch
// uses what it loads from shared memory; where tiles are fewer than processors, all take as long as one a processor.
// The weights are estimates from instruction counts, not measurements (docs/convolution_kernels.md).
inline TileShape choose_tile(const MatrixProducts& p) {
  constexpr double kEfficiency[] = {1.0, 0.85, 0.7, 0.55};
  constexpr int64_t kProcessors = 132;
  TileShape best = kTileShapes[0];
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 4; ++i) {
    const TileShape& tile = kTileShapes[i];
    const int64_t down = (p.rows + tile.rows - 1) / tile.rows, across = (p.columns + tile.columns - 1) / tile.columns;
    const int64_t tiles = p.count * down * across;
    const double area = static_cast<double>(p.split ? tiles : std::max(tiles, kProcessors)) * tile.rows * tile.columns;
    if (area / kEfficiency[i] >= least) continue;
    least = area / kEfficiency[i];
    best = tile;
  }
  return best;
}

}  // namespace segrt::kernels::cuda
