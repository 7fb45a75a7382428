#include "kernels/patches.h"

#include <fmt/format.h>

#include "core/error.h"
#include "kernels/check.h"
#include "kernels/cpu/patches.h"
#include "kernels/cuda/patches.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {
namespace {
void require_patches(std::string_view op, const Tensor& x, int side, const Tensor* patches, const Tensor* means) {
  require_rank(op, "x", x, 4);
  require_float(op, "x", x);
  require(side >= 1, op, fmt::format("side: expected 1 or more, got {}", side));
  require(x.dim(1) % side == 0 && x.dim(2) % side == 0, op,
          fmt::format("x: expected sides that are multiples of {}, got {}", side, to_string(x.shape())));
  const auto require_cells = [&](std::string_view name, const Tensor* cells, int64_t channels) {
    if (cells == nullptr) return;
    require_shape(op, name, *cells, Shape{x.dim(0), x.dim(1) / side, x.dim(2) / side, channels});
    require_dtype(op, name, *cells, {x.dtype()});
    require_device(op, name, *cells, x);
  };
  require_cells("patches", patches, x.dim(3) * side * side);
  require_cells("means", means, x.dim(3));
}
}  // namespace

void split_patches(const Tensor& x, int side, Tensor* patches, Tensor* means) {
  require_patches("split_patches", x, side, patches, means);
  if (x.numel() == 0) return;
  on_device(
      x, [&] { cuda::split_patches(x, side, patches, means); }, [&] { cpu::split_patches(x, side, patches, means); });
}

void split_patches_backward(const Tensor* dpatches, const Tensor* dmeans, int side, Tensor& dx) {
  constexpr std::string_view kOp = "split_patches_backward";
  require_patches(kOp, dx, side, dpatches, dmeans);
  require(dpatches != nullptr || dmeans != nullptr, kOp, "expected a gradient of the patches or of the means");
  if (dx.numel() == 0) return;
  on_device(
      dx, [&] { cuda::split_patches_backward(dpatches, dmeans, side, dx); },
      [&] { cpu::split_patches_backward(dpatches, dmeans, side, dx); });
}

}  // namespace segrt::kernels
