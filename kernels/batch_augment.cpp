#include "kernels/batch_augment.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cpu/batch_augment.h"
#include "kernels/cuda/batch_augment.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {
namespace {
void require_pairs(std::string_view op, const Tensor& x) {
  require_rank(op, "x", x, 4);
  require_float(op, "x", x);
  if (x.dim(0) % 2 != 0)
    throw ArgumentError(fmt::format("{}: x: expected an even batch, [N,H,W,C] with N a multiple of 2, got {}", op,
                                    to_string(x.shape())));
}
}  // namespace

void erase_rectangles(const Tensor& rectangles, uint64_t seed, Tensor& x) {
  constexpr std::string_view kOp = "erase_rectangles";
  require_rank(kOp, "x", x, 4);
  require_float(kOp, "x", x);
  if (x.dim(3) > 4)
    throw ArgumentError(fmt::format("{}: x: expected at most 4 channels, got {}", kOp, to_string(x.shape())));
  require_shape(kOp, "rectangles", rectangles, Shape{x.dim(0), 5});
  require_dtype(kOp, "rectangles", rectangles, {DType::i64});
  require_device(kOp, "rectangles", rectangles, x);
  if (x.numel() == 0) return;
  const OpScope scope(kOp, x, [&] { return OpWork{bytes_of(x)}; });
  on_device(
      x, [&] { cuda::erase_rectangles(rectangles, seed, x); }, [&] { cpu::erase_rectangles(rectangles, seed, x); });
  x.bump_version();
}

void blend_with_reversed(double share, Tensor& x) {
  constexpr std::string_view kOp = "blend_with_reversed";
  require_pairs(kOp, x);
  require(share >= 0 && share <= 1, kOp, fmt::format("share: expected a number in [0, 1], got {}", share));
  if (x.numel() == 0) return;
  const OpScope scope(kOp, x, [&] { return OpWork{2 * bytes_of(x), 3 * x.numel()}; });
  on_device(
      x, [&] { cuda::blend_with_reversed(share, x); }, [&] { cpu::blend_with_reversed(share, x); });
  x.bump_version();
}

void swap_with_reversed(int top, int left, int height, int width, Tensor& x) {
  constexpr std::string_view kOp = "swap_with_reversed";
  require_pairs(kOp, x);
  if (top < 0 || left < 0 || height < 0 || width < 0 || top > x.dim(1) - height || left > x.dim(2) - width)
    throw ArgumentError(fmt::format("{}: rows {}+{}, columns {}+{} are not inside x {}", kOp, top, height, left, width,
                                    to_string(x.shape())));
  if (x.numel() == 0 || height == 0 || width == 0) return;
  const OpScope scope(kOp, x, [&] { return OpWork{2 * bytes_of(x)}; });
  on_device(
      x, [&] { cuda::swap_with_reversed(top, left, height, width, x); },
      [&] { cpu::swap_with_reversed(top, left, height, width, x); });
  x.bump_version();
}

}  // namespace segrt::kernels
