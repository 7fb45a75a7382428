// Linear layers with the tile that matrix products use, and an epilogue that activates, or multiplies by the slope of
// the activation before.
#include "kernels/cuda/linear.h"

#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/gemm_tile.cuh"
#include "kernels/elementwise_formulas.h"

namespace segrt::kernels::cuda {
namespace {

constexpr int kColumns = 64;

// What becomes of sums[row, column]: z = sum + bias is stored in `pre`, if there is one, activation(z) *
// slope(slope_at) in y. `vectors`: all are aligned to 16 bytes, and columns end at multiples of kVec.
template <typename T>
struct LinearOutput {
  T *y, *pre;
  const T* slope_at;  // gelu's input, whose slope the sums are multiplied by; null: 1
  const float* bias;
  int rows, columns;
  LinearActivation activation;
  bool vectors;

  SEGRT_DEVICE void operator()(const float* patch, int row, int column) const {
    if (vectors)
      write<kVec<T>>(patch, row, column);
    else
      write<1>(patch, row, column);
  }

 private:
  template <int K>
  SEGRT_DEVICE void write(const float* patch, int row, int column) const {
    for (int e = lane_index() * K; e < kSliceRows * kPatchColumns; e += kWarpSize * K) {
      const int r = e / kPatchColumns, c = e % kPatchColumns;
      if (row + r >= rows || column + c >= columns) continue;
      const int64_t at = int64_t{row + r} * columns + column + c;
      Vec<T, K> z, out, slope{};
      if (slope_at) slope = load_vec<T, K>(slope_at + at);
#pragma unroll
      for (int v = 0; v < K; ++v) {
        float value = patch[r * kPatchStride + c + v];
        if (bias) value += bias[column + c + v];
        z[v] = from_float<T>(value);
        if (activation == LinearActivation::relu) value = unary_value<Unary::relu, DeviceMath>(value, 0.0f, 0.0f);
        if (activation == LinearActivation::gelu) value = unary_value<Unary::gelu, DeviceMath>(value, 0.0f, 0.0f);
        if (slope_at) value = unary_gradient<Unary::gelu, DeviceMath>(to_float(slope[v]), value, 0.0f, 0.0f);
        out[v] = from_float<T>(value);
      }
      if (pre) store_vec(pre + at, z);
      store_vec(y + at, out);
    }
  }
};

// Grid: tiles. Reads a and b about once from HBM, slope_at once; writes y and pre once.
template <typename Math, Contiguous kOrderB>
__global__ void __launch_bounds__(kTileThreads)
    linear_kernel(MatrixSource<typename Math::Input, Contiguous::depth> a,
                  MatrixSource<typename Math::Input, kOrderB> b, LinearOutput<typename Math::Input> output,
                  int column_tiles) {
  using Tile = GemmTile<Math, kColumns, Contiguous::depth, kOrderB>;
  auto& shared = block_shared<typename Tile::Shared>();
  const TilePlace place = tile_place<Tile>(block_index().x, column_tiles);
  typename Tile::Sums sums;
  Tile::multiply(shared, a, b, place.row, place.column, 0, ceil_div(a.depths, Tile::kDepth), sums);
  Tile::write(shared, sums, place.row, place.column, output);
}

struct Extras {
  const Tensor *bias = nullptr, *slope_at = nullptr;
  Tensor* pre = nullptr;
  LinearActivation activation = LinearActivation::none;
};

// y = a b with b [columns, depth] (kOrderB depth) or [depth, columns] (rows).
template <Contiguous kOrderB>
void run(const Tensor& a, const Tensor& b, const Extras& extras, Tensor& y) {
  dispatch_math(a, [&]<typename Math>() {
    using T = typename Math::Input;
    const int rows = narrow("linear", "rows", y.dim(0)), columns = narrow("linear", "columns", y.dim(1));
    const int depths = narrow("linear", "terms of a sum", a.dim(1));
    const auto aligned = [](const Tensor* t) { return t == nullptr || is_aligned(t->raw()); };
    const auto data = [](const Tensor* t) { return t == nullptr ? nullptr : t->data<T>(); };
    const LinearOutput<T> output{
        .y = y.data<T>(),
        .pre = data(extras.pre),
        .slope_at = data(extras.slope_at),
        .bias = extras.bias != nullptr ? extras.bias->data<float>() : nullptr,
        .rows = rows,
        .columns = columns,
        .activation = extras.activation,
        .vectors = columns % kVec<T> == 0 && aligned(&y) && aligned(extras.pre) && aligned(extras.slope_at)};
    const int column_tiles = ceil_div(columns, kColumns);
    launch(a.device(), linear_kernel<Math, kOrderB>,
           {.grid = int64_t{ceil_div(rows, kTileRows)} * column_tiles, .block = kTileThreads},
           matrix_source<T, Contiguous::depth>("linear", a, rows, depths),
           matrix_source<T, kOrderB>("linear", b, columns, depths), output, column_tiles);
  });
}
}  // namespace

void linear_forward(const Tensor& x, const Tensor& w, const LinearEpilogue& e, Tensor& y) {
  run<Contiguous::depth>(x, w, {.bias = e.bias, .pre = e.pre, .activation = e.activation}, y);
}

void linear_backward_input(const Tensor& dy, const Tensor& w, const Tensor& pre, Tensor& dx) {
  run<Contiguous::rows>(dy, w, {.slope_at = &pre}, dx);
}

}  // namespace segrt::kernels::cuda
