#include <fmt/format.h>

#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/dispatch.h"
#include "kernels/elementwise.h"

namespace segrt::kernels {
namespace {
void require_cast(std::string_view op, const Tensor& from, const Tensor& to) {
  require_dtype(op, "from", from, {DType::f32, DType::bf16, DType::f16, DType::f64, DType::u8, DType::i32, DType::i64});
  if (from.dtype() == DType::f64) require_float(op, "from", from);  // no f64 on CUDA
  require_float(op, "to", to);
  require_shape(op, "to", to, from.shape());
  require_device(op, "to", to, from);
}

// A contiguous [P, C] against channels [offset, offset + C) of a wider [P, W].
void require_slice(std::string_view op, std::string_view narrow_name, const Tensor& narrow, std::string_view wide_name,
                   const Tensor& wide, int64_t offset) {
  require_defined(op, narrow_name, narrow);
  require_defined(op, wide_name, wide);
  require_device(op, wide_name, wide, narrow);
  require_dtype(op, wide_name, wide, {narrow.dtype()});
  require_channel_slice(op, wide_name, wide, narrow.shape(), "offset", offset);
}
}  // namespace

void fill(Tensor& y, double value) {
  require_defined("fill", "y", y);
  if (y.dtype() == DType::f64) require_float("fill", "y", y);  // no f64 on CUDA
  if (y.numel() == 0) return;
  const OpScope scope("fill", y, [&] { return OpWork{bytes_of(y)}; });
  on_device(
      y, [&] { cuda::fill(y, value); }, [&] { cpu::fill(y, value); });
}

void cast(const Tensor& x, Tensor& y) {
  require_cast("cast", x, y);
  if (x.numel() == 0) return;
  const OpScope scope("cast", y, [&] { return OpWork{bytes_of(x, y)}; });
  on_device(
      x, [&] { cuda::cast(x, y); }, [&] { cpu::cast(x, y); });
}

void cast_many(const std::vector<CastPair>& pairs) {
  if (pairs.empty()) return;
  const CastPair& first = pairs.front();
  for (size_t i = 0; i < pairs.size(); ++i) {
    const std::string op = fmt::format("cast_many: pair {}", i);
    require_cast(op, pairs[i].from, pairs[i].to);
    require_float(op, "from", pairs[i].from);
    require_dtype(op, "from", pairs[i].from, {first.from.dtype()});
    require_dtype(op, "to", pairs[i].to, {first.to.dtype()});
    require_device(op, "from", pairs[i].from, first.from);
  }
  const OpScope scope("cast_many", first.to, [&] {
    OpWork work;
    for (const CastPair& p : pairs) work.bytes += bytes_of(p.from, p.to);
    return work;
  });
  on_device(
      first.from, [&] { cuda::cast_many(pairs); }, [&] { cpu::cast_many(pairs); });
}

void copy_into_channels(const Tensor& x, Tensor& y, int64_t offset) {
  require_slice("copy_into_channels", "x", x, "y", y, offset);
  if (x.numel() == 0) return;
  const OpScope scope("copy_into_channels", y, [&] { return OpWork{bytes_of(x, x)}; });
  on_device(
      x, [&] { cuda::copy_into_channels(x, y, offset); }, [&] { cpu::copy_into_channels(x, y, offset); });
}

void copy_from_channels(const Tensor& x, int64_t offset, Tensor& y) {
  require_slice("copy_from_channels", "y", y, "x", x, offset);
  if (y.numel() == 0) return;
  const OpScope scope("copy_from_channels", y, [&] { return OpWork{bytes_of(y, y)}; });
  on_device(
      x, [&] { cuda::copy_from_channels(x, offset, y); }, [&] { cpu::copy_from_channels(x, offset, y); });
}

}  // namespace segrt::kernels
