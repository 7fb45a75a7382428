// Class labels on the CPU: their check, once before a loss reads them, and their weights.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/parallel.h"
#include "core/tensor.h"

namespace segrt::kernels::cpu {

// f.operator()<T>() with T the integer type of the labels: u8, i32, i64.
template <typename F>
decltype(auto) dispatch_label(DType dtype, F&& f) {
  switch (dtype) {
    case DType::u8: return f.template operator()<uint8_t>();
    case DType::i32: return f.template operator()<int32_t>();
    default: return f.template operator()<int64_t>();
  }
}

// "[1,0,37]": the coordinates of element `offset` of a tensor of this shape.
inline std::string coordinates_of(int64_t offset, const Shape& shape) {
  std::string text = "]";
  for (int d = shape.rank() - 1; d >= 0; --d) {
    text = (d > 0 ? "," : "[") + std::to_string(offset % shape[d]) + text;
    offset /= shape[d];
  }
  return shape.rank() == 0 ? "[]" : text;
}

// Throws ArgumentError that names the first label that is neither in [0, classes) nor ignore_index.
inline void check_labels(std::string_view op, const Tensor& labels, int64_t classes, int64_t ignore_index) {
  dispatch_label(labels.dtype(), [&]<typename L>() {
    const L* l = labels.data<L>();
    const auto is_bad = [&](int64_t p) {
      const auto label = static_cast<int64_t>(l[p]);
      return (label < 0 || label >= classes) && label != ignore_index;
    };
    std::atomic<int64_t> bad_count{0};
    parallel_ranges(labels.numel(), 1 << 16, [&](int64_t begin, int64_t end) {
      int64_t bad = 0;
      for (int64_t p = begin; p < end; ++p) bad += is_bad(p);
      bad_count += bad;
    });
    if (bad_count == 0) return;
    int64_t p = 0;
    while (!is_bad(p)) ++p;
    throw ArgumentError(std::string(op) + ": labels: expected a class in [0, " + std::to_string(classes) +
                        ") or ignore_index " + std::to_string(ignore_index) + ", got " +
                        std::to_string(static_cast<int64_t>(l[p])) + " at " + coordinates_of(p, labels.shape()) +
                        (bad_count > 1 ? " and " + std::to_string(bad_count - 1) + " more" : ""));
  });
}

// weight[label] of the labels that count, 0 of the ignored.
struct LabelWeights {
  LabelWeights(int64_t ignore, const Tensor* class_weight)
      : ignore_index(ignore), weight(class_weight ? class_weight->data<float>() : nullptr) {}
  bool counts(int64_t label) const { return label != ignore_index; }
  float of(int64_t label) const { return !counts(label) ? 0.0f : weight ? weight[label] : 1.0f; }

  int64_t ignore_index;
  const float* weight;  // [C] or null: all ones
};

}  // namespace segrt::kernels::cpu
