// The weight gradient of a Winograd convolution, by transposing its three steps:
//   dg = G^T [ sum over tiles of (A dY A^T) * (B^T d B) ] G.
#include <algorithm>

#include "core/parallel.h"
#include "kernels/cpu/winograd.h"
#include "kernels/cpu/winograd_multiply.h"
#include "kernels/cpu/winograd_tiles.h"

namespace segrt::kernels::cpu::winograd {
namespace {
constexpr int kWidth = kLanes<float>;
constexpr int kPanelWidth = kPanelVectors * kWidth;
constexpr int kTaps = kFilter * kFilter;
constexpr int kOutputRows = 8;  // outputs a register block; divides a vector
// Tiles that are multiplied before the next outputs: two operands of a register block fit the first-level cache.
constexpr int64_t kDepth = 128;
constexpr int64_t kLimitFloats = int64_t{12} << 20;  // of transformed inputs and gradients at a time

// v: transformed inputs [36][C / kPanelWidth][tiles][kPanelWidth]; e: transformed gradients [36][O / kWidth][tiles]
// [kWidth], for the tiles from `first` on.
struct Transformed {
  Tiling t;
  const float *x, *dy;
  float *v, *e;
  const float* zeros;
  int64_t first, tiles;
  int64_t v_stride, e_stride;  // from point to point
};

template <int N, typename Offset>
void gather_pointers(const float* base, const float* zeros, const Offset& offset_of, const float* at[N][N]) {
  for (int i = 0; i < N; ++i)
    for (int j = 0; j < N; ++j) {
      const int64_t offset = offset_of(i, j);
      at[i][j] = offset < 0 ? zeros : base + offset;
    }
}

void transform_tile(const Transformed& s, int64_t k) {
  const Tile tile = tile_at(s.t, s.first + k);
  const float *x[kTile][kTile], *dy[kOutput][kOutput];
  gather_pointers<kTile>(
      s.x, s.zeros, [&](int i, int j) { return tile.input(i, j); }, x);
  gather_pointers<kOutput>(
      s.dy, s.zeros, [&](int i, int j) { return tile.output(i, j); }, dy);
  for (int64_t c = 0; c < s.t.channels; c += kWidth) {
    float* to = s.v + (c / kPanelWidth * s.tiles + k) * kPanelWidth + c % kPanelWidth;
    transform_square<kTile, kTile>(
        input_transform, [&](int i, int j) { return load(x[i][j] + c); },
        [&](int i, int j, const Vector& v) { store(to + (i * kTile + j) * s.v_stride, v); });
  }
  for (int64_t o = 0; o < s.t.outputs; o += kWidth) {
    float* to = s.e + (o / kWidth * s.tiles + k) * kWidth;
    transform_square<kOutput, kTile>(
        output_adjoint, [&](int i, int j) { return load(dy[i][j] + o); },
        [&](int i, int j, const Vector& v) { store(to + (i * kTile + j) * s.e_stride, v); });
  }
}

// m[r][lane] (+)= sum over `tiles` of e[t][r] * v[t][lane]: kOutputRows outputs by two vectors of channels. The sum is
// added when it is complete, so that no sum in order is longer than kDepth.
void accumulate(const float* e, const float* v, int64_t tiles, bool add, float* m, int64_t row_stride) {
  constexpr int64_t kAhead = 8;
  Lanes<float> sums[kOutputRows][kPanelVectors] = {};
  for (int64_t t = 0; t < tiles; ++t) {
    const Lanes<float> v0 = load(v), v1 = load(v + kWidth);
    __builtin_prefetch(v + kAhead * kPanelWidth);
    __builtin_prefetch(v + kAhead * kPanelWidth + kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < kOutputRows; ++r) {
      const Lanes<float> er = broadcast(e[r]);
      sums[r][0] += er * v0;
      sums[r][1] += er * v1;
    }
    e += kWidth;
    v += kPanelWidth;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kOutputRows; ++r)
#pragma GCC unroll 2
    for (int s = 0; s < kPanelVectors; ++s) {
      float* to = m + r * row_stride + s * kWidth;
      store(to, add ? load(to) + sums[r][s] : sums[r][s]);
    }
}

// A rectangle of dw: outputs [o, o + outputs), channels [c, c + channels).
struct Part {
  int64_t o, outputs, c, channels;
};

// m [36][outputs][channels].
void multiply_part(const Transformed& s, const Part& part, float* m) {
  for (int point = 0; point < kPoints; ++point)
    for (int64_t t = 0; t < s.tiles; t += kDepth)
      for (int64_t c = 0; c < part.channels; c += kPanelWidth) {
        const float* v = s.v + point * s.v_stride + ((part.c + c) / kPanelWidth * s.tiles + t) * kPanelWidth;
        for (int64_t o = 0; o < part.outputs; o += kOutputRows) {
          const int64_t row = part.o + o;
          const float* e = s.e + point * s.e_stride + (row / kWidth * s.tiles + t) * kWidth + row % kWidth;
          accumulate(e, v, std::min(kDepth, s.tiles - t), t > 0, m + (point * part.outputs + o) * part.channels + c,
                     part.channels);
        }
      }
}

void transform_back(const Part& part, const float* m, int64_t channels, bool add, float* dw) {
  for (int64_t o = 0; o < part.outputs; ++o)
    for (int64_t c = 0; c < part.channels; c += kWidth) {
      const float* from = m + o * part.channels + c;
      float* to = dw + (part.o + o) * kTaps * channels + part.c + c;
      transform_square<kTile, kFilter>(
          filter_adjoint, [&](int i, int j) { return load(from + (i * kTile + j) * part.outputs * part.channels); },
          [&](int i, int j, const Vector& g) {
            float* tap = to + (i * kFilter + j) * channels;
            store(tap, add ? load(tap) + g : g);
          });
    }
}

// The largest parts, up to 128 x 128, that give each thread some.
Part part_sizes(int64_t outputs, int64_t channels) {
  Part p{0, std::min<int64_t>(outputs, 128), 0, std::min<int64_t>(channels, 128)};
  const auto enough = [&] {
    return ((outputs + p.outputs - 1) / p.outputs) * ((channels + p.channels - 1) / p.channels) >= 2 * threads();
  };
  while (!enough() && std::max(p.outputs, p.channels) > kPanelWidth) {
    int64_t& longer = p.outputs >= p.channels ? p.outputs : p.channels;
    longer = std::max<int64_t>(longer / 2 / kPanelWidth, 1) * kPanelWidth;
  }
  return p;
}

void multiply_all(const Transformed& s, bool add, Tensor& dw) {
  const int64_t outputs = s.t.outputs, channels = s.t.channels;
  const Part sizes = part_sizes(outputs, channels);
  const int64_t across = (channels + sizes.channels - 1) / sizes.channels;
  const int64_t down = (outputs + sizes.outputs - 1) / sizes.outputs;
  parallel_for(down * across, [&](int64_t i) {
    const int64_t o = i / across * sizes.outputs, c = i % across * sizes.channels;
    const Part part{o, std::min(sizes.outputs, outputs - o), c, std::min(sizes.channels, channels - c)};
    const Tensor m = Tensor::empty({kPoints * sizes.outputs * sizes.channels}, DType::f32, dw.device());
    multiply_part(s, part, m.data<float>());
    transform_back(part, m.data<float>(), channels, add, dw.data<float>());
  });
}
}  // namespace

void conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw) {
  const Tiling t = tiling(x.shape(), dy.shape(), g);
  const int64_t per_tile = kPoints * (t.channels + t.outputs), tiles = t.count();
  const int64_t rounds = (tiles * per_tile + kLimitFloats - 1) / kLimitFloats;
  const int64_t step = (tiles + rounds - 1) / rounds;
  const int64_t apart = 5 * kWidth;  // so that the 36 points do not share cache sets
  const int64_t v_stride = step * t.channels + apart, e_stride = step * t.outputs + apart;
  const Tensor zeros = Tensor::zeros({std::max(t.channels, t.outputs)}, DType::f32, x.device());
  const Tensor memory = Tensor::empty({kPoints * (v_stride + e_stride)}, DType::f32, x.device());
  float* v = memory.data<float>();
  for (int64_t first = 0; first < tiles; first += step) {
    const Transformed s{t,
                        x.data<float>(),
                        dy.data<float>(),
                        v,
                        v + kPoints * v_stride,
                        zeros.data<float>(),
                        first,
                        std::min(step, tiles - first),
                        v_stride,
                        e_stride};
    parallel_for(s.tiles, 4, [&](int64_t k) { transform_tile(s, k); });
    multiply_all(s, first > 0, dw);
  }
}

}  // namespace segrt::kernels::cpu::winograd
