#include "kernels/reduce.h"

#include <fmt/format.h>

#include "core/op_scope.h"
#include "kernels/broadcast.h"
#include "kernels/check.h"
#include "kernels/cpu/reduce.h"
#include "kernels/cuda/reduce.h"
#include "kernels/dispatch.h"
#include "kernels/elementwise.h"

namespace segrt::kernels {
namespace {

void sum_middle(const Tensor& x, Tensor& y) {
  on_device(
      x, [&] { cuda::sum_middle(x, y); }, [&] { cpu::sum_middle(x, y); });
}

// The index of the longest run to sum over, -1 if none is left.
int longest_summed(const Runs& runs) {
  int longest = -1;
  for (int r = 0; r < runs.count; ++r) {
    const Run& run = runs.run[static_cast<size_t>(r)];
    if (!run.kept && (longest < 0 || run.extent > runs.run[static_cast<size_t>(longest)].extent)) longest = r;
  }
  return longest;
}

// x as [A, R, C] with R run `r`.
Shape split_at(const Runs& runs, int r) {
  int64_t before = 1, after = 1;
  for (int i = 0; i < runs.count; ++i) {
    if (i == r) continue;
    (i < r ? before : after) *= runs.run[static_cast<size_t>(i)].extent;
  }
  return {before, runs.run[static_cast<size_t>(r)].extent, after};
}

void require_list(std::string_view op, const std::vector<Tensor>& tensors, const Tensor& out) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string name = fmt::format("tensors[{}]", i);
    require_float(op, name, tensors[i]);
    require_device(op, name, tensors[i], out);
  }
}
}  // namespace

void sum_to(const Tensor& x, Tensor& y) {
  require_float("sum_to", "x", x);
  require_defined("sum_to", "y", y);
  require_device("sum_to", "y", y, x);
  if (x.dtype() == DType::f32)
    require_dtype("sum_to", "y", y, {DType::f32});
  else
    require_dtype("sum_to", "y", y, {x.dtype(), DType::f32});
  if (!broadcasts_to(y.shape(), x.shape()))
    throw ArgumentError(fmt::format("sum_to: y: expected extents equal to those of x {} or 1, got {}",
                                    to_string(x.shape()), to_string(y.shape())));
  if (y.numel() == 0) return;
  if (x.numel() == 0) {
    y.fill_zero();
    return;
  }
  const OpScope scope("sum_to", y, [&] { return OpWork{bytes_of(x, y)}; });
  Runs runs = runs_of(y.shape(), x.shape());
  Tensor current = x;
  // One run after the other, the longest first: it leaves the least for the rest.
  for (int r = longest_summed(runs); r >= 0; r = longest_summed(runs)) {
    const Shape split = split_at(runs, r);
    runs.run[static_cast<size_t>(r)] = {1, true};
    const bool last = longest_summed(runs) < 0;
    const Shape rest{split[0], split[2]};
    const DType partial = x.device().is_cpu() ? DType::f64 : DType::f32;
    Tensor next = last ? y.reshape(rest) : Tensor::empty(rest, partial, x.device());
    sum_middle(current.reshape(split), next);
    current = next;
  }
  if (current.shares_storage(x)) cast(x.reshape(y.shape()), y);  // nothing to sum
}

void global_norm(const std::vector<Tensor>& tensors, Tensor& out) {
  require_shape("global_norm", "out", out, Shape{1});
  require_dtype("global_norm", "out", out, {DType::f32, DType::f64});
  require_float("global_norm", "out", out);  // no f64 on CUDA
  require_list("global_norm", tensors, out);
  for (const Tensor& t : tensors)
    if (t.dtype() == DType::f64) require_dtype("global_norm", "out", out, {DType::f64});
  const OpScope scope("global_norm", out, [&] {
    OpWork work{bytes_of(out)};
    for (const Tensor& t : tensors) work.bytes += bytes_of(t);
    return work;
  });
  on_device(
      out, [&] { cuda::global_norm(tensors, out); }, [&] { cpu::global_norm(tensors, out); });
}

void count_nonfinite(const std::vector<Tensor>& tensors, Tensor& counts) {
  require_shape("count_nonfinite", "counts", counts, Shape{static_cast<int64_t>(tensors.size())});
  require_dtype("count_nonfinite", "counts", counts, {DType::i32});
  require_list("count_nonfinite", tensors, counts);
  if (tensors.empty()) return;
  const OpScope scope("count_nonfinite", counts, [&] {
    OpWork work{bytes_of(counts)};
    for (const Tensor& t : tensors) work.bytes += bytes_of(t);
    return work;
  });
  on_device(
      counts, [&] { cuda::count_nonfinite(tensors, counts); }, [&] { cpu::count_nonfinite(tensors, counts); });
}

}  // namespace segrt::kernels
