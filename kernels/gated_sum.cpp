#include "kernels/gated_sum.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cpu/gated_sum.h"
#include "kernels/cuda/gated_sum.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {
namespace {
// "term 2: x"
std::string argument(size_t term, std::string_view name) { return fmt::format("term {}: {}", term, name); }

// x, or its gradient, of a term of the sum y.
void require_map(std::string_view op, const std::string& name, const Tensor& x, bool upsample2, const Tensor& y) {
  const int64_t shrink = upsample2 ? 2 : 1;
  require_shape(op, name, x, {y.dim(0), y.dim(1) / shrink, y.dim(2) / shrink, y.dim(3)});
  require_dtype(op, name, x, {y.dtype()});
  require_device(op, name, x, y);
  require(y.numel() == 0 || y.device().is_meta() || x.raw() != y.raw(), op, name + ": expected other memory than y");
}

void require_term(std::string_view op, size_t t, const GatedTerm& term, std::string_view y_name, const Tensor& y) {
  if (term.upsample2 && (y.dim(1) % 2 != 0 || y.dim(2) % 2 != 0))
    throw ArgumentError(fmt::format("{}: {}: expected even height and width, term {} is upsampled by 2, got {}", op,
                                    y_name, t, to_string(y.shape())));
  if (term.gate == nullptr) return;
  const std::string name = argument(t, "gate");
  require_rank(op, name, *term.gate, 2);
  require_shape(op, name, *term.gate, {y.dim(0), term.gate->dim(1)});
  require_dtype(op, name, *term.gate, {y.dtype() == DType::f64 ? DType::f64 : DType::f32});
  require_device(op, name, *term.gate, y);
  if (term.slot < 0 || term.slot >= term.gate->dim(1))
    throw ArgumentError(
        fmt::format("{}: {}: expected one of {} slots, got slot {}", op, name, term.gate->dim(1), term.slot));
}

void require_terms(std::string_view op, std::span<const GatedTerm> terms, std::string_view y_name, const Tensor& y) {
  require_rank(op, y_name, y, 4);
  require_float(op, y_name, y);
  if (terms.empty() || terms.size() > kMaxGatedTerms)
    throw ArgumentError(fmt::format("{}: expected 1 to {} terms, got {}", op, kMaxGatedTerms, terms.size()));
  for (size_t t = 0; t < terms.size(); ++t) require_term(op, t, terms[t], y_name, y);
}

void require_x(std::string_view op, size_t t, const GatedTerm& term, const Tensor& y) {
  if (term.x == nullptr) throw ArgumentError(fmt::format("{}: {}: expected a tensor, got none", op, argument(t, "x")));
  require_map(op, argument(t, "x"), *term.x, term.upsample2, y);
}

}  // namespace

void gated_sum_forward(std::span<const GatedTerm> terms, Tensor& y) {
  constexpr std::string_view kOp = "gated_sum";
  require_terms(kOp, terms, "y", y);
  for (size_t t = 0; t < terms.size(); ++t) require_x(kOp, t, terms[t], y);
  if (y.numel() == 0) return;
  const OpScope scope(kOp, y, [&] {
    OpWork work{bytes_of(y)};
    for (const GatedTerm& t : terms) work.bytes += bytes_of(t.x);
    return work;
  });
  on_device(
      y, [&] { cuda::gated_sum_forward(terms, y); }, [&] { cpu::gated_sum_forward(terms, y); });
}

void gated_sum_backward(const Tensor& dy, std::span<const GatedTerm> terms, std::span<const GatedTermGrads> grads) {
  constexpr std::string_view kOp = "gated_sum_backward";
  require_terms(kOp, terms, "dy", dy);
  if (grads.size() != terms.size())
    throw ArgumentError(fmt::format("{}: expected {} gradients, got {}", kOp, terms.size(), grads.size()));
  for (size_t t = 0; t < terms.size(); ++t) {
    if (grads[t].dx != nullptr) require_map(kOp, argument(t, "dx"), *grads[t].dx, terms[t].upsample2, dy);
    if (grads[t].dgate == nullptr) continue;
    const std::string name = argument(t, "dgate");
    require(terms[t].gate != nullptr, kOp, name + ": only a gated term has one");
    require_x(kOp, t, terms[t], dy);
    require_same(kOp, name, *grads[t].dgate, argument(t, "gate"), *terms[t].gate);
  }
  const bool wanted = std::any_of(grads.begin(), grads.end(),
                                  [](const GatedTermGrads& g) { return g.dx != nullptr || g.dgate != nullptr; });
  if (dy.numel() == 0 || !wanted) return;
  const OpScope scope(kOp, dy, [&] {
    OpWork work{bytes_of(dy)};
    for (size_t t = 0; t < terms.size(); ++t)
      work.bytes += bytes_of(grads[t].dx) + (grads[t].dgate != nullptr ? bytes_of(terms[t].x) : 0);
    return work;
  });
  on_device(
      dy, [&] { cuda::gated_sum_backward(dy, terms, grads); }, [&] { cpu::gated_sum_backward(dy, terms, grads); });
}

}  // namespace segrt::kernels
